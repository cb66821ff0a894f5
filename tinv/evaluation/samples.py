"""Samples of a word, kept: what has been drawn before with the same settings is not drawn again."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from PIL import Image

from tinv.concept import slug as short
from tinv.data.images import open_upright
from tinv.errors import UserError
from tinv.evaluation.metrics.measure import GAP
from tinv.formats import LearnedEmbedding
from tinv.inference.generate import slug
from tinv.models.sampling import generate_images
from tinv.runs.files import write_atomically, write_json

STAMP = "drawn.json"
"""Beside the pictures: what they were drawn with."""


class SampleStore:
    """The samples of one word in a folder: `a-teal-mug-on-the-beach_0.png`."""

    def __init__(self, folder: Path, word: str, prompts: Sequence[str], seeds: Sequence[int]):
        """Args:
            folder: where they are.
            word: what stands for the gap in prompts.
            prompts: with `{}` for the word.
            seeds: of each prompt.

        Raises:
            UserError: two prompts would have files of the same name.
        """
        self.folder, self.word, self.seeds = folder, word, list(seeds)
        self.names = {prompt: slug(prompt.replace(GAP, short(word))) for prompt in prompts}
        if len(set(self.names.values())) < len(self.names):
            twice = [p for p, name in self.names.items() if list(self.names.values()).count(name) > 1]
            raise UserError(f"the prompts {' and '.join(map(repr, twice))} would have files of one name; change a word")

    def path(self, prompt: str, seed: int) -> Path:
        """Where a sample is."""
        return self.folder / f"{self.names[prompt]}_{seed}.png"

    @contextmanager
    def held(self) -> Iterator[None]:
        """The folder for one process alone: another one with other settings would take its samples away.

        Raises:
            UserError: another process is at work in it, or nobody may write there.
        """
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise UserError(f"{self.folder}: another process is measuring this word; wait for it") from None
        except OSError as error:
            raise UserError(f"cannot write to {self.folder} ({error.strerror or error}); copy the word away") from error
        try:
            yield
        finally:
            lock.release()

    def missing(self) -> list[tuple[str, int]]:
        """Prompts and seeds without a file."""
        pairs = [(prompt, seed) for prompt in self.names for seed in self.seeds]
        return [pair for pair in pairs if not self.path(*pair).is_file()]

    def draw(self, model: Any, learned: LearnedEmbedding, told: Mapping[str, Any], *, batch_size: int) -> None:
        """Draw what is missing.

        Args:
            model: draws them.
            learned: the word.
            told: what decides the pictures besides prompt and seed; `sampling` is what `generate` is told.
            batch_size: pictures at once.
        """
        self._begin(told)
        missing = self.missing()
        for start in range(0, len(missing), batch_size):
            part = missing[start : start + batch_size]
            pictures = generate_images(
                model,
                [prompt.replace(GAP, self.word) for prompt, _ in part],
                {self.word: learned.vectors},
                seeds=[seed for _, seed in part],
                batch_size=batch_size,
                **told["sampling"],
            )
            for pair, picture in zip(part, pictures, strict=True):
                with write_atomically(self.path(*pair)) as draft:
                    picture.save(draft, format="png")

    def read(self) -> dict[str, list[Image.Image]]:
        """The samples by prompt, as the files have them."""
        return {prompt: [self._open(self.path(prompt, seed)) for seed in self.seeds] for prompt in self.names}

    def _open(self, path: Path) -> Image.Image:
        with open_upright(path) as picture:
            return picture.convert("RGB")

    def _begin(self, told: Mapping[str, Any]) -> None:
        """Make room if what is there was drawn otherwise."""
        stamp = self.folder / STAMP
        wanted = {"fingerprint": fingerprint(told), "drawn_with": told}
        try:
            is_same = json.loads(stamp.read_text(encoding="utf-8"))["fingerprint"] == wanted["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError):
            is_same = False
        if not is_same:
            for path in self.folder.glob("*.png") if stamp.is_file() else ():
                path.unlink()
            write_json(stamp, wanted)


def fingerprint(told: Any) -> str:
    """Of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def fingerprint_of(learned: LearnedEmbedding) -> str:
    """Of the numbers of a word."""
    digest = hashlib.sha256()
    for encoder in sorted(learned.vectors):
        rows = learned.vectors[encoder].detach().float().cpu().contiguous()
        digest.update(f"{encoder}{tuple(rows.shape)}".encode() + rows.numpy().tobytes())
    return digest.hexdigest()[:16]
