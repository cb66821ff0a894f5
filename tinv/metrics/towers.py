"""What looks at pictures: a CLIP and, where there is one, a DINO."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch

from tinv.errors import UserError
from tinv.metrics.clip import Clip
from tinv.metrics.dino import Dino
from tinv.metrics.places import Found, find

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
class Towers:
    """Loaded and ready."""

    clip: Clip
    dino: Dino | None = None
    told: dict[str, Any] = field(default_factory=dict)
    """What they are, with the commits, for whoever reads the results."""

    @classmethod
    def load(cls, name: str, *, clip: str | None = None, dino: str | None = None) -> Self:
        """Load a choice of `NAMED`, or parts of it from elsewhere.

        Args:
            name: `toybox`, `clip` or `dinov2`.
            clip: another CLIP: a folder, `pkg://package/folder`, or an id of the Hub, also as `id@revision`.
            dino: another DINO likewise, or `none`.

        Raises:
            UserError: there is no such choice, or a tower cannot be had.
        """
        if name not in NAMED:
            raise UserError(f"towers must be one of {', '.join(NAMED)}, got {name}")
        places = {"clip": clip or NAMED[name][0], "dino": dino or NAMED[name][1]}
        found = {part: find(place) for part, place in places.items() if place != NONE}
        told: dict[str, Any] = {"name": name, "clip": _told(found["clip"]), "dino": None}
        if "dino" in found:
            told["dino"] = _told(found["dino"])
        if name in NOTES and dino is None:
            told["note"] = NOTES[name]
        loaded = Dino.load(found["dino"].folder) if "dino" in found else None
        return cls(Clip.load(Path(found["clip"].folder)), loaded, told)

    def to(self, device: torch.device | str) -> Self:
        """The same, computing there."""
        self.clip.to(device)
        if self.dino is not None:
            self.dino.to(device)
        return self


def towers_for(model: str) -> str:
    """The choice that goes with a model, by its name: the toybox's own, else CLIP ViT-B/32 and DINO ViT-S/16."""
    return "toybox" if model.startswith(_TOYBOX) else "clip"


def _told(found: Found) -> dict[str, str | None]:
    return {"name": found.name, "revision": found.revision} if found.revision else {"name": found.name}
