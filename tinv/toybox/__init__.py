"""A world of toys and a small Stable Diffusion that knows it: tinv's offline model, test bed and first example.

Importing this costs nothing; the modules behind it import what they need.
"""

from pathlib import Path

PIPELINE: Path = Path(__file__).parent / "pipeline"
"""A diffusers pipeline folder, for `StableDiffusionPipeline.from_pretrained`."""
CLIP: Path = Path(__file__).parent / "clip"
"""The CLIP of both towers that the pipeline's text encoder comes from, for `CLIPModel.from_pretrained`."""
CONCEPTS: Path = Path(__file__).parent / "concepts"
"""Pictures of five concepts that neither has ever seen, a folder each."""


def concept_images(name: str) -> list[Path]:
    """The paths of the five pictures of a concept, in order."""
    folder = CONCEPTS / name
    if not folder.is_dir():
        known = ", ".join(sorted(path.name for path in CONCEPTS.iterdir() if path.is_dir()))
        raise ValueError(f"the toybox has no concept {name!r}; it has {known}")
    return sorted(folder.glob("*.png"))
