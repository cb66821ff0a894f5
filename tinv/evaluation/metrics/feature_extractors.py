"""What looks at pictures: a CLIP and, where there is one, a DINO."""

from dataclasses import dataclass
from typing import Any, Self

import torch

from tinv.errors import UserError
from tinv.evaluation.metrics.clip import Clip
from tinv.evaluation.metrics.dino import Dino
from tinv.hub.locate import FeatureExtractorFiles, locate_feature_extractor

NONE = "none"
_CLIP = "openai/clip-vit-base-patch32@3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"
NAMED: dict[str, tuple[str, str]] = {
    "toybox": ("pkg://tinv/toybox/clip", NONE),
    "clip": (_CLIP, "facebook/dino-vits16@abe3b354cb6a9b6f146096b14a4a9d7eecbcb4bd"),
    "dinov2": (_CLIP, "facebook/dinov2-base@f9e44c814b77203eaa57a6bdbbd535f21ede1415"),
}
"""CLIP and DINO of each choice. `clip` is what the DreamBooth benchmark is usually measured with."""
NOTES = {
    "toybox": "the toybox has no DINO, so there is none",
    "clip": "DINO is transformers' copy of dino_vits16, which deviates a little from torch.hub's",
}
_TOYBOX = "pkg://tinv/toybox/"


@dataclass(frozen=True)
class Choice:
    """Towers that are on this machine, not loaded yet."""

    clip: FeatureExtractorFiles
    dino: FeatureExtractorFiles | None
    told: dict[str, Any]
    """What they are, with the commits, for whoever reads the results."""

    @classmethod
    def of(cls, name: str, *, clip: str | None = None, dino: str | None = None) -> Self:
        """A choice of `NAMED`, or parts of it from elsewhere.

        Args:
            name: `toybox`, `clip` or `dinov2`.
            clip: another CLIP: a folder, `pkg://package/folder`, or an id of the Hub, also as `id@revision`.
            dino: another DINO likewise, or `none`.

        Raises:
            UserError: there is no such choice, or a tower cannot be had.
        """
        if name not in NAMED:
            raise UserError(f"towers must be one of {', '.join(NAMED)}, got {name}")
        places = clip or NAMED[name][0], dino or NAMED[name][1]
        seeing, other = (
            locate_feature_extractor(places[0]),
            locate_feature_extractor(places[1]) if places[1] != NONE else None,
        )
        told = {"name": name, "clip": _told(seeing), "dino": _told(other) if other else None}
        return cls(seeing, other, told | ({"note": NOTES[name]} if name in NOTES and dino is None else {}))

    def load(self) -> "Towers":
        """The towers themselves.

        Raises:
            UserError: a folder holds something else, or not all of it.
        """
        return Towers(Clip.load(self.clip.folder), Dino.load(self.dino.folder) if self.dino else None)


@dataclass(frozen=True)
class Towers:
    """Loaded and ready."""

    clip: Clip
    dino: Dino | None = None

    def to(self, device: torch.device | str) -> Self:
        """The same, computing there."""
        self.clip.to(device)
        if self.dino is not None:
            self.dino.to(device)
        return self


def towers_for(model: str) -> str:
    """The choice that goes with a model, by its name: the toybox's own, else CLIP ViT-B/32 and DINO ViT-S/16."""
    return "toybox" if model.startswith(_TOYBOX) else "clip"


def _told(found: FeatureExtractorFiles) -> dict[str, str | None]:
    return {"name": found.name, "revision": found.revision} if found.revision else {"name": found.name}
