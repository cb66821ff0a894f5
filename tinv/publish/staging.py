"""Lays out a word as the repositories of the sd-concepts-library do, in the folder `hub/` beside it."""

import os
import shutil
import tempfile
from pathlib import Path

from tinv import formats
from tinv.concept import slug
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.publish.model_card import model_card
from tinv.publish.run_facts import CONCEPT_IMAGES, Facts, read_facts
from tinv.publish.training_images import write_clean
from tinv.runs.files import write_text
from tinv.runs.layout import CONCEPT_TYPE, EMBEDDING, HUB_STAGING, SAMPLES, TOKEN_IDENTIFIER

OURS = (f"{CONCEPT_IMAGES}/*", f"{SAMPLES}/*", "learned_embeds*.safetensors", "learned_embeds*.bin")
"""What an earlier upload may have left in the repository that this one does not have."""


def stage(run: Path, place: Path, *, repo_id: str, license: str | None, concept_images: bool) -> Path:
    """Write the folder `hub/` of a concept anew: everything that is uploaded, and nothing else.

    Args:
        run: the run's folder.
        place: the concept's; the run's own where it has only one.
        repo_id: where the files will be.
        license: of the word, as the Hub calls it; None is the one that the run gave it, else the base model's, where
            that is known.
        concept_images: whether the pictures that it was learned from are shown.

    Returns:
        The folder.

    Raises:
        UserError: the run has nothing to show, its pictures are gone, or the disk is full.
    """
    facts = read_facts(run, place)
    license = license or facts.learned.provenance.get("license")
    with tempfile.TemporaryDirectory(dir=place, prefix=".hub-") as draft:
        folder = Path(draft) / HUB_STAGING
        _write_embedding(folder, facts, license)
        for number, picture in enumerate(facts.pictures if concept_images else []):
            write_clean(picture, folder / CONCEPT_IMAGES, str(number))
        for sheet in facts.sheets:
            (folder / SAMPLES).mkdir(exist_ok=True)
            shutil.copyfile(sheet, folder / SAMPLES / sheet.name)
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        write_text(folder / "README.md", model_card(facts, repo_id=repo_id, license=license, files=files))
        _replace(folder, place / HUB_STAGING)
    return place / HUB_STAGING


def _write_embedding(folder: Path, facts: Facts, license: str | None) -> None:
    told = dict(facts.learned.provenance) | ({"license": license} if license else {})
    learned = LearnedEmbedding(facts.learned.placeholder_token, facts.learned.vectors, told)
    formats.write(folder / EMBEDDING, learned, format="diffusers")
    formats.write(folder / "learned_embeds.bin", learned, format="diffusers_bin")
    if set(learned.vectors) == {"clip_l", "clip_g"}:
        formats.write(folder / f"{slug(learned.placeholder_token)}.safetensors", learned, format="sdxl")
    write_text(folder / TOKEN_IDENTIFIER, learned.placeholder_token + "\n")
    write_text(folder / CONCEPT_TYPE, facts.kind + "\n")


def _replace(draft: Path, final: Path) -> None:
    try:
        shutil.rmtree(final, ignore_errors=True)
        os.replace(draft, final)
    except OSError as error:
        raise UserError(f"cannot write {final} ({error.strerror}); is it open somewhere?") from error
