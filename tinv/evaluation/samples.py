"""Stores the samples of a token, so that none is drawn twice with the same settings."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from PIL import Image

from tinv.concept import slug
from tinv.data.images import open_upright
from tinv.errors import UserError
from tinv.evaluation.metrics.measure import SLOT
from tinv.formats import LearnedEmbedding
from tinv.inference.generate import prompt_slug
from tinv.models.sampling import generate_images
from tinv.runs.files import write_atomically, write_json

SETTINGS_FILE = "samples.json"
"""Beside the samples: the settings that they were drawn with."""


class SampleStore:
    """The samples of one token in a folder: `a-teal-mug-on-the-beach_0.png`."""

    def __init__(self, folder: Path, token: str, prompts: Sequence[str], seeds: Sequence[int]):
        """Args:
            folder: the folder of the samples.
            token: the placeholder token.
            prompts: with `{}` for the token.
            seeds: of each prompt.

        Raises:
            UserError: two prompts would have the same file name.
        """
        self.folder, self.token, self.seeds = folder, token, list(seeds)
        self.names = {prompt: prompt_slug(prompt.replace(SLOT, slug(token))) for prompt in prompts}
        names = list(self.names.values())
        if duplicates := [prompt for prompt, name in self.names.items() if names.count(name) > 1]:
            raise UserError(
                f"The prompts {' and '.join(map(repr, duplicates))} have the same file name; change a word."
            )

    def path(self, prompt: str, seed: int) -> Path:
        """Returns the file of a sample."""
        return self.folder / f"{self.names[prompt]}_{seed}.png"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Locks the folder; another process with other settings would delete these samples.

        Raises:
            UserError: another process has the lock, or the folder cannot be written to.
        """
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise UserError(f"{self.folder}: another process is evaluating this embedding; wait for it.") from None
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"cannot write to {self.folder} ({reason}); copy the embedding elsewhere.") from error
        try:
            yield
        finally:
            lock.release()

    def missing(self) -> list[tuple[str, int]]:
        """Returns the prompts and seeds without a file."""
        pairs = [(prompt, seed) for prompt in self.names for seed in self.seeds]
        return [pair for pair in pairs if not self.path(*pair).is_file()]

    def draw(self, model: Any, embedding: LearnedEmbedding, settings: Mapping[str, Any], *, batch_size: int) -> None:
        """Draws the missing samples.

        Args:
            model: the model.
            embedding: the token's vectors.
            settings: everything besides prompt and seed that determines a sample; `sampling` goes to the sampler.
            batch_size: samples drawn at once.
        """
        self._discard_outdated(settings)
        missing = self.missing()
        for start in range(0, len(missing), batch_size):
            batch = missing[start : start + batch_size]
            images = generate_images(
                model,
                [prompt.replace(SLOT, self.token) for prompt, _ in batch],
                {self.token: embedding.vectors},
                seeds=[seed for _, seed in batch],
                batch_size=batch_size,
                **settings["sampling"],
            )
            for pair, image in zip(batch, images, strict=True):
                with write_atomically(self.path(*pair)) as draft:
                    image.save(draft, format="png")

    def read(self) -> dict[str, list[Image.Image]]:
        """Returns the samples by prompt."""
        return {prompt: [_open(self.path(prompt, seed)) for seed in self.seeds] for prompt in self.names}

    def _discard_outdated(self, settings: Mapping[str, Any]) -> None:
        """Deletes the samples in the folder if they were drawn with other settings."""
        file = self.folder / SETTINGS_FILE
        content = {"fingerprint": fingerprint(settings), **settings}
        try:
            is_same = json.loads(file.read_text(encoding="utf-8"))["fingerprint"] == content["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError):
            is_same = False
        if not is_same:
            for path in self.folder.glob("*.png") if file.is_file() else ():
                path.unlink()
            write_json(file, content)


def fingerprint(value: Any) -> str:
    """Returns a hash of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def fingerprint_embedding(embedding: LearnedEmbedding) -> str:
    """Returns a hash of the vectors."""
    digest = hashlib.sha256()
    for encoder in sorted(embedding.vectors):
        vectors_KD = embedding.vectors[encoder].detach().float().cpu().contiguous()
        digest.update(f"{encoder}{tuple(vectors_KD.shape)}".encode() + vectors_KD.numpy().tobytes())
    return digest.hexdigest()[:16]


def _open(path: Path) -> Image.Image:
    with open_upright(path) as image:
        return image.convert("RGB")
