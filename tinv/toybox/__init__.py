"""A rendered world of toys and a small Stable Diffusion trained on it: tinv's offline model for tests and examples.

Importing this package loads no library.
"""

from pathlib import Path

PIPELINE: Path = Path(__file__).parent / "pipeline"
"""A diffusers pipeline folder, for `StableDiffusionPipeline.from_pretrained`."""
CLIP: Path = Path(__file__).parent / "clip"
"""The CLIP model that the pipeline's text encoder comes from, for `CLIPModel.from_pretrained`."""
CONCEPTS: Path = Path(__file__).parent / "concepts"
"""Images of five concepts outside the training set, a folder for each."""


def concept_images(name: str) -> list[Path]:
    """Returns the paths of the five images of a concept, in order."""
    folder = CONCEPTS / name
    if not folder.is_dir():
        available = ", ".join(sorted(path.name for path in CONCEPTS.iterdir() if path.is_dir()))
        raise ValueError(f"the toybox has no concept {name!r}; it has {available}")
    return sorted(folder.glob("*.png"))
