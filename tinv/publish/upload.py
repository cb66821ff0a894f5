"""Uploads a staged folder in one commit."""

from pathlib import Path

from huggingface_hub import HfApi

from tinv.config.secrets import is_secret
from tinv.errors import UserError
from tinv.hub.errors import explain_error
from tinv.hub.snapshot import hub_timeout
from tinv.publish.account import check_visibility
from tinv.publish.staging import STAGED_PATTERNS

TIMEOUT_S = 60.0
"""Seconds that the Hub may take to answer during an upload."""


def upload(folder: Path, *, repo_id: str, private: bool, message: str) -> str:
    """Uploads a staged folder, and returns the URL of the repository.

    Deletes files of an earlier upload that are no longer staged.

    Args:
        folder: the staged folder.
        repo_id: OWNER/NAME; created if it does not exist.
        private: whether only its owner sees the repository. An existing one never becomes public.
        message: the commit message.

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
