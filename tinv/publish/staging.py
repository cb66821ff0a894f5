"""Writes the folder `hub/` with all files of an upload, in the layout of the sd-concepts-library."""

import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image, ImageOps

from tinv import formats
from tinv.concept import slug
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.publish.model_card import model_card
from tinv.publish.run_facts import CONCEPT_IMAGES, RunFacts, read_facts
from tinv.runs.files import write_atomically, write_text
from tinv.runs.layout import CONCEPT_TYPE, EMBEDDING, HUB_STAGING, SAMPLES, TOKEN_IDENTIFIER

STAGED_PATTERNS = (f"{CONCEPT_IMAGES}/*", f"{SAMPLES}/*", "learned_embeds*.safetensors", "learned_embeds*.bin")
"""Files of an earlier upload; those that this upload does not have are deleted from the repository."""
MAX_SIDE = 1024
"""Pixels of the longer side of a published training image."""


def stage(run_dir: Path, concept_folder: Path, *, repo_id: str, license: str | None, concept_images: bool) -> Path:
    """Rewrites and returns the folder `hub/` of a concept: everything that is uploaded, and nothing else.

    Args:
        run_dir: the run folder.
        concept_folder: the folder of the concept, which is the run folder if there is only one concept.
        repo_id: the target repository.
        license: Hub license id; None is that in the embedding file, else the base model's, if it is known.
        concept_images: whether the training images are published.

    Raises:
        UserError: the run has no embedding, its training images are missing, or the disk is full.
    """
    facts = read_facts(run_dir, concept_folder)
    license = license or facts.learned.provenance.get("license")
    with tempfile.TemporaryDirectory(dir=concept_folder, prefix=".hub-") as draft:
        folder = Path(draft) / HUB_STAGING
        _write_embedding(folder, facts, license)
        for number, image in enumerate(facts.images if concept_images else []):
            write_without_metadata(image, folder / CONCEPT_IMAGES, str(number))
        for sheet in facts.samples:
            (folder / SAMPLES).mkdir(exist_ok=True)
            shutil.copyfile(sheet, folder / SAMPLES / sheet.name)
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        write_text(folder / "README.md", model_card(facts, repo_id=repo_id, license=license, files=files))
        final = concept_folder / HUB_STAGING
        try:
            shutil.rmtree(final, ignore_errors=True)
            os.replace(folder, final)
        except OSError as error:
            raise UserError(f"cannot write {final} ({error.strerror}). Close programs that use the folder.") from error
    return final


def _write_embedding(folder: Path, facts: RunFacts, license: str | None) -> None:
    token, vectors = facts.learned.placeholder_token, facts.learned.vectors
    provenance = {**facts.learned.provenance, **({"license": license} if license else {})}
    learned = LearnedEmbedding(token, vectors, provenance)
    formats.write(folder / EMBEDDING, learned, format="diffusers")
    formats.write((folder / EMBEDDING).with_suffix(".bin"), learned, format="diffusers_bin")
    if set(vectors) == {"clip_l", "clip_g"}:
        formats.write(folder / f"{slug(token)}.safetensors", learned, format="sdxl")
    write_text(folder / TOKEN_IDENTIFIER, token + "\n")
    write_text(folder / CONCEPT_TYPE, facts.kind + "\n")


def write_without_metadata(source: Path, folder: Path, stem: str) -> Path:
    """Re-encodes an image without location, time, camera, owner, color profile and original file name.

    Images with transparency become `<stem>.png`, others `<stem>.jpeg`.

    Raises:
        UserError: the image cannot be read, or the file cannot be written.
    """
    try:
        with Image.open(source) as file:
            upright = ImageOps.exif_transpose(file)
            is_transparent = upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info
            if upright.mode.startswith("I;16"):
                upright = upright.point(lambda value: value / 256).convert("L")
            image = upright.convert("RGBA" if is_transparent else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{source} cannot be read as an image ({str(error).splitlines()[0]}).") from error
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    pixels = Image.new(image.mode, image.size)
    pixels.paste(image)
    suffix = "png" if is_transparent else "jpeg"
    path = folder / f"{stem}.{suffix}"
    with write_atomically(path) as draft:
        pixels.save(draft, format=suffix, **({} if is_transparent else {"quality": 95, "subsampling": 0}))
    return path
