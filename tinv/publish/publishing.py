"""What is published of a run, and where: the group `hub`."""

import shlex
import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from tinv.errors import UserError
from tinv.publish.account import SilentHubError, check_visibility, full_name, repository_name
from tinv.publish.facts import read_config, setting
from tinv.publish.staging import stage
from tinv.publish.upload import upload


@dataclass(frozen=True, kw_only=True)
class Publishing:
    """The settings of an upload. The token is none of them: it comes from HF_TOKEN or from `hf auth login`."""

    name: str
    """Of the run."""
    push: bool = False
    """Whether the run is uploaded when it has ended."""
    repo_id: str | None = None
    """OWNER/NAME or NAME of the repository; None is the run's name, with the token's owner."""
    private: bool = True
    """Whether only its owner sees the repository."""
    licence: str | None = None
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

    def check(self) -> None:
        """See before the training that the upload after it can work, as far as the Hub can be asked.

        Raises:
            UserError: it cannot.
        """
        if not self.push:
            return
        repo_id = repository_name(self.repo_id, self.name)
        try:
            check_visibility(full_name(repo_id), private=self.private)
        except SilentHubError as error:
            warnings.warn(
                f"hub.push: {error}; the run goes on, and if that has not changed at its end, `tinv push` uploads it",
                stacklevel=2,
            )

    def publish(self, run: Path) -> str:
        """Stage a run that has ended, and upload it; returns the address.

        Raises:
            UserError: the Hub refuses or does not answer. The run is whole, and staged as far as it can be.
        """
        repo_id = repository_name(self.repo_id, self.name)
        later = f"tinv push {shlex.quote(str(run))}"
        try:
            try:
                repo_id = full_name(repo_id)
            finally:  # staged in any case, so that it can also be uploaded by hand
                folder = stage(run, repo_id=repo_id, licence=self.licence, concept_images=self.concept_images)
            message = self.message or f"Learned with tinv: {self.name}"
            return upload(folder, repo_id=repo_id, private=self.private, message=message)
        except (UserError, SilentHubError) as error:
            raise UserError(
                f"not uploaded: {error}\nThe run itself is whole: {run}. To upload it later: {later}"
            ) from error
