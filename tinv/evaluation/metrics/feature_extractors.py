"""The feature extractors of an evaluation: a CLIP model and optionally a DINO model."""

from dataclasses import dataclass
from typing import Any, Self

import torch

from tinv.errors import UserError
from tinv.evaluation.metrics.clip import Clip
from tinv.evaluation.metrics.dino import Dino
from tinv.hub.locate import FeatureExtractorFiles, locate_feature_extractor

NONE = "none"
_CLIP = "openai/clip-vit-base-patch32@3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"
PRESETS: dict[str, tuple[str, str]] = {
    "toybox": ("pkg://tinv/toybox/clip", NONE),
    "clip": (_CLIP, "facebook/dino-vits16@abe3b354cb6a9b6f146096b14a4a9d7eecbcb4bd"),
    "dinov2": (_CLIP, "facebook/dinov2-base@f9e44c814b77203eaa57a6bdbbd535f21ede1415"),
}
"""CLIP and DINO by the value of `feature_extractors`. `clip` is the usual choice for the DreamBooth benchmark."""
NOTES = {
    "toybox": "the toybox has no DINO model, so there is no DINO score",
    "clip": "DINO is transformers' copy of dino_vits16, which deviates slightly from torch.hub's",
}


@dataclass(frozen=True)
class LocatedExtractors:
    """Feature extractors whose files are on this machine; the models are not loaded yet."""

    clip: FeatureExtractorFiles
    dino: FeatureExtractorFiles | None
    info: dict[str, Any]
    """Names and commits, for evaluation.json."""

    @classmethod
    def locate(cls, preset: str, *, clip: str | None = None, dino: str | None = None) -> Self:
        """Locates the files of a preset, and downloads them if necessary.

        Args:
            preset: `toybox`, `clip` or `dinov2`.
            clip: another CLIP: a folder, `pkg://package/folder`, or a Hub id, also as `id@revision`.
            dino: another DINO likewise, or `none`.

        Raises:
            UserError: there is no such preset, or a model cannot be located.
        """
        if preset not in PRESETS:
            raise UserError(f"feature_extractors={preset}: choose one of {', '.join(PRESETS)}")
        clip_files = locate_feature_extractor(clip or PRESETS[preset][0])
        dino_name = dino or PRESETS[preset][1]
        dino_files = None if dino_name == NONE else locate_feature_extractor(dino_name)
        info = {"name": preset, "clip": _info(clip_files), "dino": _info(dino_files) if dino_files else None}
        return cls(clip_files, dino_files, info | ({"note": NOTES[preset]} if preset in NOTES and dino is None else {}))

    def load(self) -> "FeatureExtractors":
        """Loads the models.

        Raises:
            UserError: a folder holds another kind of model, or is incomplete.
        """
        return FeatureExtractors(Clip.load(self.clip.folder), Dino.load(self.dino.folder) if self.dino else None)


@dataclass(frozen=True)
class FeatureExtractors:
    """Loaded feature extractors."""

    clip: Clip
    dino: Dino | None = None

    def to(self, device: torch.device | str) -> Self:
        """Moves the models to a device."""
        self.clip.to(device)
        if self.dino is not None:
            self.dino.to(device)
        return self


def default_preset(model: str) -> str:
    """Returns the preset for a model by its name: `toybox` for the toybox, else `clip`."""
    return "toybox" if model.startswith("pkg://tinv/toybox/") else "clip"


def _info(files: FeatureExtractorFiles) -> dict[str, str]:
    return {"name": files.name, **({"revision": files.revision} if files.revision else {})}
