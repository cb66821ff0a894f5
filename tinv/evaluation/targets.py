"""Finds what is to be evaluated: the embeddings of files, runs and sweeps, with their training images."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinv import formats
from tinv.concept import slug
from tinv.data.images import find_images, format_names
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.publish.run_config import RunConfig
from tinv.runs.layout import EMBEDDING, STATUS, concept_dirs
from tinv.runs.reader import RunReader


@dataclass(frozen=True)
class EvaluationTarget:
    """An embedding to evaluate."""

    path: Path
    """The run's folder, or the file."""
    folder: Path
    """The folder of the evaluation."""
    embedding: LearnedEmbedding

    @property
    def token(self) -> str:
        """The placeholder token."""
        return self.embedding.placeholder_token

    @property
    def kind(self) -> str:
        """`object` or `style`."""
        return self.embedding.provenance.get("kind", "object")

    def class_noun(self, override: str | None) -> str:
        """Returns the class of the concept: the override, or else the initializer token.

        Raises:
            UserError: neither is known.
        """
        noun = override or self.embedding.provenance.get("initializer_token")
        if not noun:
            raise UserError(f"{self.path} does not name the class of {self.token}. Give one, as in --class-noun cat.")
        return noun

    def training_images(self, folder: Path | None) -> list[Path]:
        """Returns the images in a folder, or else those of the run; none for an embedding file without its run.

        Raises:
            UserError: the images are missing.
        """
        if folder is not None:
            try:
                return find_images(folder)
            except UserError as error:
                raise UserError(str(error).replace("data.folder", "--images", 1)) from error
        run = RunReader(self.path)
        if run.config is None and not run.problems:
            return []
        try:
            config = RunConfig(self.path)
            return config.training_images(config.data_groups.get(self.token, "data"))
        except UserError as error:
            raise UserError(f"{error} Or give the training images with --images.") from error


def find_targets(paths: Sequence[Path]) -> dict[Path, list[EvaluationTarget]]:
    """Returns the targets of each path: an embedding file, a run's folder, a sweep's, or any folder of runs.

    Raises:
        UserError: a path has none.
    """
    targets = {path: [target for run in _find_runs(path) for target in _targets_of(run)] for path in paths}
    if empty := [path for path, of_path in targets.items() if not of_path]:
        raise UserError(f"{empty[0]} holds no {EMBEDDING}, nor do its subfolders. Give a run, a sweep or a file.")
    return targets


def _has_embeddings(run: Path) -> bool:
    return any((folder / EMBEDDING).is_file() for folder in concept_dirs(run))


def _find_runs(path: Path) -> list[Path]:
    if not path.is_dir() or _has_embeddings(path):
        return [path]
    folders = sorted((folder for folder in path.iterdir() if folder.is_dir()), key=_sort_key)
    runs = [folder for folder in folders if _has_embeddings(folder)]
    unfinished = [folder.name for folder in folders if folder not in runs and (folder / STATUS).is_file()]
    if runs and unfinished:
        names = format_names(unfinished)
        warnings.warn(f"{path}: skipped {names}, which have no embedding; see `tinv status {path}`", stacklevel=2)
    return runs


def _sort_key(folder: Path) -> tuple[int, str]:
    """Sorts the points of a sweep by number."""
    return (int(folder.name) if folder.name.isdecimal() else -1, folder.name)


def _targets_of(run: Path) -> list[EvaluationTarget]:
    if run.is_dir():
        folders = [folder for folder in concept_dirs(run) if (folder / EMBEDDING).is_file()]
        return [EvaluationTarget(run, folder, formats.read(folder)) for folder in folders]
    embeddings = formats.read_all(run)
    folder = run.with_name(f"{run.name}.evaluation")
    return [
        EvaluationTarget(run, folder / slug(each.placeholder_token) if len(embeddings) > 1 else folder, each)
        for each in embeddings
    ]
