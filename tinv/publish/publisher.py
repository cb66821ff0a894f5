"""Publishes a run on the Hub: the config group `hub`."""

import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from huggingface_hub import HfApi

from tinv.config.secrets import is_secret
from tinv.errors import UserError
from tinv.hub.errors import explain_error
from tinv.hub.snapshot import hub_timeout
from tinv.publish.account import HubUnreachableError, check_visibility, resolve_repo_id, resolve_repo_name
from tinv.publish.run_config import RunConfig
from tinv.publish.staging import STAGED_PATTERNS, stage
from tinv.runs.layout import concept_dirs

TIMEOUT_S = 60.0
"""Seconds that the Hub may take to answer during an upload."""


@dataclass(frozen=True, kw_only=True)
class Publisher:
    """The settings of an upload. The token is not a setting: it comes from HF_TOKEN or from `hf auth login`."""

    name: str
    """Name of the run."""
    push: bool = False
    """Whether to upload the run when it has ended."""
    repo_id: str | None = None
    """OWNER/NAME or NAME of the repository; None is the run's name, owned by the token's account."""
    private: bool = True
    """Whether only its owner sees the repository."""
    license: str | None = None
    """Hub license id of the embedding, e.g. cc-by-4.0; None is the base model's, if it is known."""
    concept_images: bool = True
    """Whether to upload the training images."""
    message: str | None = None
    """The commit message."""

    @classmethod
    def of_run(cls, run_dir: Path, **changes: Any) -> Self:
        """Returns the settings of a run that has ended, with some changes.

        Raises:
            UserError: this is not a run folder.
        """
        config = RunConfig(run_dir)
        settings = {field.name: config.get(f"hub.{field.name}") for field in fields(cls)}
        settings = {key: value for key, value in settings.items() if value is not None}
        return cls(**{"name": config.get("name"), **settings, **changes})

    def check(self, concepts: Sequence[str] = ("",)) -> None:
        """Checks before training whether the upload can work, as far as the Hub answers.


        Raises:
            UserError: the upload cannot work.
        """
        if not self.push:
            return
        repo_ids = [self.repo_of(concept) for concept in concepts]
        try:
            for repo_id in repo_ids:
                check_visibility(resolve_repo_id(repo_id), private=self.private)
        except HubUnreachableError as error:
            remedy = "The run continues; if the upload at its end fails, use `tinv push`."
            warnings.warn(f"hub.push=true: {error}. {remedy}", stacklevel=2)

    def repo_of(self, concept: str) -> str:
        """Returns the repository of a concept; of several concepts, each has its own, with its name as the suffix.

        Raises:
            UserError: the Hub does not allow the name.
        """
        suffix = f"-{concept}" if concept else ""
        return resolve_repo_name(self.repo_id and f"{self.repo_id}{suffix}", f"{self.name}{suffix}")

    def publish(self, run_dir: Path) -> str:
        """Stages and uploads a run that has ended; returns the URL of the repository, one line for each concept.

        Raises:
            UserError: the Hub refuses or does not answer. All concepts are staged nevertheless.
        """
        repo_ids = {folder: self.repo_of("" if folder == run_dir else folder.name) for folder in concept_dirs(run_dir)}
        message = self.message or f"Learned with tinv: {self.name}"
        try:
            try:
                repo_ids = {folder: resolve_repo_id(repo_id) for folder, repo_id in repo_ids.items()}
            finally:  # staged in any case, for an upload by hand
                options: dict[str, Any] = {"license": self.license, "concept_images": self.concept_images}
                staged = {name: stage(run_dir, folder, repo_id=name, **options) for folder, name in repo_ids.items()}
            urls = [
                upload(folder, repo_id=name, private=self.private, message=message) for name, folder in staged.items()
            ]
        except (UserError, HubUnreachableError) as error:
            later = f"To upload it later: tinv push {shlex.quote(str(run_dir))}{self._options(run_dir)}"
            raise UserError(f"not uploaded: {error}\nThe run is complete: {run_dir}. {later}") from error
        return "\n".join(urls)

    def _options(self, run_dir: Path) -> str:
        """Returns the options of `tinv push` with which it has these settings."""
        stored, options = Publisher.of_run(run_dir), []
        for name in ("repo_id", "private", "license", "concept_images", "message"):
            if (value := getattr(self, name)) != getattr(stored, name):
                option = name.replace("_", "-")
                is_switch = isinstance(value, bool)
                options += [f"--{option}" if value else f"--no-{option}"] if is_switch else [f"--{option}", str(value)]
        return "".join(f" {shlex.quote(option)}" for option in options)


def upload(folder: Path, *, repo_id: str, private: bool, message: str) -> str:
    """Uploads a staged folder, and returns the URL of the repository, which is created if it does not exist.

    Deletes files of an earlier upload that are no longer staged. An existing repository never becomes public.

    Raises:
        UserError: the Hub refuses or does not answer.
    """
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    for name in files:
        if is_secret((folder / name).read_bytes().decode("latin-1")):
            raise UserError(f"{folder / name} contains a Hub token. Nothing was uploaded.")
    api = HfApi()
    try:
        with hub_timeout(TIMEOUT_S):
            api.create_repo(repo_id, private=private, exist_ok=True)
            check_visibility(repo_id, private=private)
            api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=message,
                allow_patterns=files,
                delete_patterns=list(STAGED_PATTERNS),
            )
    except UserError:
        raise
    except Exception as error:  # its type depends on the HTTP library that the client uses
        raise UserError(f"the upload to {repo_id} failed: {explain_error(error)}") from error
    return f"{api.endpoint}/{repo_id}"
