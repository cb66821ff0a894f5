"""The account of an upload: the token, its owner, and the repositories that it may write to."""

import re

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from tinv.errors import UserError
from tinv.hub.errors import explain_error, is_access_denied
from tinv.hub.snapshot import hub_timeout

_LOGIN = "Log in with `hf auth login`, or set the environment variable HF_TOKEN"


class HubUnreachableError(Exception):
    """The Hub does not answer, so that nothing could be checked."""


def resolve_repo_name(repo_id: str | None, run_name: str) -> str:
    """Returns the repository id, or a valid repository name made of the run's name.

    Raises:
        UserError: the Hub does not allow this name.
    """
    name = repo_id or re.sub(r"[^\w.-]+|--+|\.\.+", "-", run_name).strip("-.")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        rule = "NAME or OWNER/NAME of letters, digits and . _ -, at most 96 characters"
        raise UserError(f"hub.repo_id={name}: must be {rule}.") from error
    return name


def resolve_repo_id(repo_id: str) -> str:
    """Returns OWNER/NAME of a repository that the token may write to.

    Raises:
        UserError: there is no token, it is invalid or read-only, or the repository belongs to another account.
        HubUnreachableError: the Hub does not answer.
    """
    if get_token() is None:
        raise UserError(f"hub.push needs a Hub token with write access. {_LOGIN}.")
    try:
        with hub_timeout():
            account = HfApi().whoami()
    except Exception as error:
        if is_access_denied(error):
            raise UserError(f"hub.push: the Hub rejects the token. {_LOGIN}.") from error
        raise HubUnreachableError(explain_error(error)) from error
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise UserError(f"hub.push: the token is read-only. Create one with write access. {_LOGIN}.")
    owner, _, name = repo_id.rpartition("/")
    owners = [account["name"], *(org["name"] for org in account.get("orgs", []))]
    if owner and owner not in owners:
        raise UserError(f"hub.repo_id={repo_id}: the token can write for {' or '.join(owners)}, not for {owner}.")
    return f"{owner or account['name']}/{name}"


def check_visibility(repo_id: str, *, private: bool) -> None:
    """Refuses to upload private files to an existing public repository, whose visibility would not change.

    Raises:
        UserError: `private` is set and the repository is public.
        HubUnreachableError: the Hub does not answer.
    """
    try:
        with hub_timeout():
            is_public = HfApi().model_info(repo_id).private is False
    except RepositoryNotFoundError:
        return
    except Exception as error:
        raise HubUnreachableError(explain_error(error)) from error
    if private and is_public:
        remedy = "Make it private on its page, set another hub.repo_id, or set hub.private=false."
        raise UserError(f"hub.private=true: the repository {repo_id} exists and is public. {remedy}")
