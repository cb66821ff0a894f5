"""The upload of a staged folder, as one commit."""

from pathlib import Path

from huggingface_hub import HfApi

from tinv.config.secrets import is_secret
from tinv.errors import UserError
from tinv.hub.errors import explain_error
from tinv.hub.snapshot import hub_timeout
from tinv.publish.account import check_visibility
from tinv.publish.staging import OURS

TIMEOUT_S = 60.0
"""How long the Hub may be silent while files are on their way."""


def upload(folder: Path, *, repo_id: str, private: bool, message: str) -> str:
    """Upload a staged folder; returns the address of the repository.

    Files that an earlier upload put there, and that are no longer, are removed.

    Args:
        folder: everything that is uploaded.
        repo_id: OWNER/NAME; made if it is not there.
        private: whether it is to be seen by nobody else. One that is there is never made public by this.
        message: of the commit.

    Raises:
        UserError: the Hub refuses or does not answer; in words.
    """
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    for name in files:
        if is_secret((folder / name).read_bytes().decode("latin-1")):
            raise UserError(f"{folder / name} holds a token of the Hub; nothing was uploaded")
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
                delete_patterns=list(OURS),
            )
    except UserError:
        raise
    except Exception as error:  # of which kind depends on the HTTP library that the client happens to use
        raise UserError(f"the upload to {repo_id} failed: {explain_error(error)}") from error
    return f"{api.endpoint}/{repo_id}"
