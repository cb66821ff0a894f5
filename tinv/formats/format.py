"""What a program-specific file is to those who write it: its name, what it can hold, and who reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinv.concept import slug
from tinv.errors import UserError
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.negative import halves
from tinv.token_parts import describe_parts, has_negative, parts

ONE_CLIP = (frozenset({"clip_l"}), frozenset({"clip_h"}), frozenset({"clip_g"}))
"""The vectors of one encoder: Stable Diffusion 1 and 2."""
SDXL = frozenset({"clip_l", "clip_g"})


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of embedding file that can be written."""

    name: str
    """What it is called in `callbacks.export.formats` and `tinv convert --to`."""
    file_name: str
    """What the programs that read it expect; `{slug}` is the word as a file name."""
    holds: tuple[frozenset[str], ...] | None
    """The sets of text encoders that fit in; None is any set but a single CLIP encoder."""
    save: Callable[[Path, LearnedEmbedding], list[Path]]
    """Writes plain rows; returns the files."""

    @property
    def suffix(self) -> str:
        """The end of its files' names, by which most programs choose their reader."""
        return Path(self.file_name).suffix

    def place(self, folder: Path, learned: LearnedEmbedding) -> Path:
        """The file in a folder, by the name that programs expect."""
        return folder / self.file_name.format(slug=slug(learned.placeholder_token))

    def check(self, learned: LearnedEmbedding) -> None:
        """Refuse what does not fit in.

        Raises:
            UserError: naming a format for it.
        """
        if has_negative(learned.vectors):
            for half in halves(learned):
                self.check(half)
            return
        if known := parts(learned.vectors):
            raise UserError(
                f"the format {self.name} has one set of vectors, {learned.placeholder_token} has rows of its own for "
                f"{describe_parts(known)}; `tinv convert --part mean` or `--part {known[0]}` makes an ordinary word of it"
            )
        encoders = frozenset(learned.vectors)
        fits = encoders not in ONE_CLIP if self.holds is None else encoders in self.holds
        if not fits:
            other = "emb_params or a1111" if encoders in ONE_CLIP else "sdxl"
            raise UserError(
                f"the format {self.name} has no room for {learned.placeholder_token}, which has vectors for "
                f"{', '.join(sorted(encoders))}; choose {other}"
            )
        counts = {encoder: len(rows) for encoder, rows in learned.vectors.items() if encoder in SDXL}
        if len(set(counts.values())) > 1:
            raise UserError(f"{learned.placeholder_token} needs as many vectors for each encoder, it has {counts}")
