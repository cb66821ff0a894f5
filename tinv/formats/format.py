"""The description of a file format that can be written: its name, the encoders it has room for, and how to save it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinv.concept import slug
from tinv.errors import UserError
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.negative import split_negative
from tinv.token_parts import describe_parts, has_negative, parts

ONE_CLIP = (frozenset({"clip_l"}), frozenset({"clip_h"}), frozenset({"clip_g"}))
"""The vectors of one encoder: Stable Diffusion 1 and 2."""
SDXL = frozenset({"clip_l", "clip_g"})


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of embedding file that can be written."""

    name: str
    """The name in `callbacks.export.formats` and `tinv convert --to`."""
    file_name: str
    """The file name that readers expect; `{slug}` is the token as a file name."""
    encoder_sets: tuple[frozenset[str], ...] | None
    """The sets of text encoders that the format has room for; None is any set."""
    save: Callable[[Path, LearnedEmbedding], list[Path]]
    """Writes float32 vectors; returns the files."""

    @property
    def suffix(self) -> str:
        """The suffix of the files, by which most programs choose their reader."""
        return Path(self.file_name).suffix

    def default_path(self, folder: Path, embedding: LearnedEmbedding) -> Path:
        """Returns the path in a folder, with the file name that readers expect."""
        return folder / self.file_name.format(slug=slug(embedding.placeholder_token))

    def check(self, embedding: LearnedEmbedding) -> None:
        """Checks that an embedding fits into the format.

        Raises:
            UserError: it does not fit; the message names a format that has room for it.
        """
        if has_negative(embedding.vectors):
            for half in split_negative(embedding):
                self.check(half)
            return
        token = embedding.placeholder_token
        if names := parts(embedding.vectors):
            raise UserError(
                f"the format {self.name} has one set of vectors, but {token} has its own vectors for "
                f"{describe_parts(names)}; `tinv convert --part mean` or `--part {names[0]}` makes an ordinary "
                f"embedding of it"
            )
        encoders = frozenset(embedding.vectors)
        if self.encoder_sets is not None and encoders not in self.encoder_sets:
            other = "emb_params or a1111" if encoders in ONE_CLIP else "comfy or diffusers"
            raise UserError(
                f"the format {self.name} has no room for {token}, which has vectors for "
                f"{', '.join(sorted(encoders))}; choose {other}"
            )
        counts = {encoder: len(vectors_KD) for encoder, vectors_KD in embedding.vectors.items() if encoder in SDXL}
        if len(set(counts.values())) > 1:
            raise UserError(f"{token} must have the same number of vectors for each encoder, it has {counts}")
