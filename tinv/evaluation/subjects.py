"""What is to be evaluated: the words of files, runs and sweeps, each with what it was learned from."""

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
class Subject:
    """A word."""

    place: Path
    """The run's folder, or the file."""
    folder: Path
    """Where its evaluation is kept."""
    learned: LearnedEmbedding

    @property
    def kind(self) -> str:
        """`object` or `style`."""
        return self.learned.provenance.get("kind", "object")

    def class_noun(self, asked: str | None) -> str:
        """The plain name of what it is one of.

        Raises:
            UserError: nobody says.
        """
        noun = asked or self.learned.provenance.get("initializer_token")
        if not noun:
            word = self.learned.placeholder_token
            raise UserError(
                f"{self.place} does not say what {word} is one of; give its plain name, as in --class-noun cat"
            )
        return noun

    def pictures(self, asked: Path | None) -> list[Path]:
        """What it was learned from; none where only the file is at hand.

        Raises:
            UserError: the pictures are gone.
        """
        if asked is not None:
            try:
                return find_images(asked)
            except UserError as error:
                raise UserError(str(error).replace("data.folder = ", "--images = ", 1)) from error
        run = RunReader(self.place)
        if run.config is None and not run.problems:
            return []
        try:
            return self._own_pictures()
        except UserError as error:
            raise UserError(f"{error}; or give the pictures with --images") from error

    def _own_pictures(self) -> list[Path]:
        config = RunConfig(self.place)
        return config.training_images(config.data_groups.get(self.learned.placeholder_token, "data"))


def find_subjects(places: Sequence[Path]) -> dict[Path, list[Subject]]:
    """The words of each place: a file, a run's folder, a sweep's, or any other folder with runs in it.

    Raises:
        UserError: there is none.
    """
    found = {}
    for place in places:
        found[place] = [subject for run in _runs(place) for subject in _words(run)]
        if not found[place]:
            raise UserError(f"{place} holds no {EMBEDDING}, nor do the folders in it; give a run, a sweep or a file")
    return found


def has_words(folder: Path) -> bool:
    """Whether a run has come to its end."""
    return any((each / EMBEDDING).is_file() for each in concept_dirs(folder))


def _runs(place: Path) -> list[Path]:
    if place.is_file() or not place.exists():
        return [place]
    if has_words(place):
        return [place]
    runs = sorted((path for path in place.iterdir() if path.is_dir()), key=_order)
    found = [path for path in runs if has_words(path)]
    others = [path.name for path in runs if path not in found and (path / STATUS).is_file()]
    if found and others:
        warnings.warn(
            f"{place}: left out {format_names(others)}, without a word; tinv status {place} says why", stacklevel=2
        )
    return found


def _order(folder: Path) -> tuple[int, str]:
    """Points of a sweep by number."""
    return (int(folder.name) if folder.name.isdecimal() else -1, folder.name)


def _words(run: Path) -> list[Subject]:
    if not run.is_dir():
        words = formats.read_all(run)
        folder = run.with_name(f"{run.name}.evaluation")
        folders = [folder / slug(word.placeholder_token) for word in words] if len(words) > 1 else [folder]
        return [Subject(run, here, word) for here, word in zip(folders, words, strict=True)]
    return [
        Subject(run, folder, formats.read(folder)) for folder in concept_dirs(run) if (folder / EMBEDDING).is_file()
    ]
