"""What is published of a run, and where: the group `hub`."""

import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from tinv.errors import UserError
from tinv.publish.account import SilentHubError, check_visibility, full_name, repository_name
from tinv.publish.run_facts import read_config, setting
from tinv.publish.staging import stage
from tinv.publish.upload import upload
from tinv.runs.layout import concept_dirs


@dataclass(frozen=True, kw_only=True)
class Publisher:
    """The settings of an upload. The token is none of them: it comes from HF_TOKEN or from `hf auth login`."""

    name: str
    """Of the run."""
    push: bool = False
    """Whether the run is uploaded when it has ended."""
    repo_id: str | None = None
    """OWNER/NAME or NAME of the repository; None is the run's name, with the token's owner."""
    private: bool = True
    """Whether only its owner sees the repository."""
    license: str | None = None
    """Of the word, as the Hub calls it, e.g. cc-by-4.0; None is the base model's, where that is known."""
    concept_images: bool = True
    """Whether the training pictures are uploaded."""
    message: str | None = None
    """Of the commit."""

    @classmethod
    def of_run(cls, run: Path, **changes: Any) -> Self:
        """What a run that has ended was set to, but for some changes.

        Raises:
            UserError: this is no run's folder.
        """
        cfg = read_config(run)
        found = {field.name: setting(cfg, f"hub.{field.name}") for field in fields(cls)}
        known = {key: value for key, value in found.items() if value is not None}  # a run may be older than a key
        return cls(**{"name": setting(cfg, "name"), **known, **changes})

    def check(self, names: Sequence[str] = ("",)) -> None:
        """See before the training that the upload after it can work, as far as the Hub can be asked.

        Args:
            names: of the concepts; a single one has none.

        Raises:
            UserError: it cannot.
        """
        if not self.push:
            return
        repo_ids = [self.repository(name) for name in names]
        try:
            for repo_id in repo_ids:
                check_visibility(full_name(repo_id), private=self.private)
        except SilentHubError as error:
            warnings.warn(
                f"hub.push: {error}; the run goes on, and if that has not changed at its end, `tinv push` uploads it",
                stacklevel=2,
            )

    def repository(self, concept: str) -> str:
        """Where a concept goes: each of several has a repository of its own, with its name behind the run's.

        Raises:
            UserError: the Hub takes no such name.
        """
        behind = f"-{concept}" if concept else ""
        return repository_name(self.repo_id and f"{self.repo_id}{behind}", f"{self.name}{behind}")

    def publish(self, run: Path) -> str:
        """Stage a run that has ended, and upload it; returns the address, or a line with that of each concept.

        Raises:
            UserError: the Hub refuses or does not answer. The run is whole, and staged as far as it can be.
        """
        places = {place: "" if place == run else place.name for place in concept_dirs(run)}
        repo_ids = {place: self.repository(name) for place, name in places.items()}
        options: dict[str, Any] = {"license": self.license, "concept_images": self.concept_images}
        message = self.message or f"Learned with tinv: {self.name}"
        later = f"tinv push {shlex.quote(str(run))}"
        try:
            try:
                repo_ids = {place: full_name(repo_id) for place, repo_id in repo_ids.items()}
            finally:  # staged in any case, so that it can also be uploaded by hand
                staged = [
                    (stage(run, place, repo_id=repo_id, **options), repo_id) for place, repo_id in repo_ids.items()
                ]
            return "\n".join(
                upload(folder, repo_id=repo_id, private=self.private, message=message) for folder, repo_id in staged
            )
        except (UserError, SilentHubError) as error:
            raise UserError(
                f"not uploaded: {error}\nThe run itself is whole: {run}. To upload it later: {later}"
            ) from error
