"""Whose the upload is: the token, its owner, and where it may write."""

import re
from typing import Any

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from tinv.errors import UserError
from tinv.hub.errors import explain_error, is_access_denied
from tinv.hub.snapshot import hub_timeout

_LOGIN = "log in with `hf auth login`, or set the environment variable HF_TOKEN"


class SilentHubError(Exception):
    """The Hub does not answer, and so cannot say whether all is well."""


def repository_name(repo_id: str | None, name: str) -> str:
    """The repository that was asked for, or one by the run's name.

    Raises:
        UserError: the Hub takes no such name.
    """
    chosen = repo_id or re.sub(r"[^\w.-]+|--+|\.\.+", "-", name).strip("-.")
    try:
        validate_repo_id(chosen)
    except HFValidationError as error:
        raise UserError(
            f"hub.repo_id must be NAME or OWNER/NAME of letters, digits and . _ -, up to 96 in all, got {chosen!r}"
        ) from error
    return chosen


def full_name(repo_id: str) -> str:
    """OWNER/NAME for somebody who may write there.

    Raises:
        UserError: there is no token, it is not valid, it only reads, or it is another's.
        SilentHubError: the Hub does not answer.
    """
    if get_token() is None:
        raise UserError(f"hub.push needs a token of the Hub that may write: {_LOGIN}")
    me = _ask(lambda api: api.whoami(), f"hub.push: the Hub does not take the token; {_LOGIN}")
    role = me.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise UserError("hub.push: the token may only read; make one that may write, then " + _LOGIN)
    owner, _, name = repo_id.rpartition("/")
    mine = [me["name"], *(org["name"] for org in me.get("orgs", []))]
    if owner and owner not in mine:
        raise UserError(f"hub.repo_id: {repo_id} belongs to {owner}, this token writes for {' or '.join(mine)}")
    return f"{owner or me['name']}/{name}"


def check_visibility(repo_id: str, *, private: bool) -> None:
    """Do not show to the world what was meant to be private: a repository that is there keeps its visibility.

    Raises:
        UserError: it is there and public.
        SilentHubError: the Hub does not answer.
    """
    try:
        with hub_timeout():
            is_public = HfApi().model_info(repo_id).private is False
    except RepositoryNotFoundError:
        return
    except Exception as error:
        raise SilentHubError(explain_error(error)) from error
    if private and is_public:
        raise UserError(
            f"hub.private=true, but the repository {repo_id} is there already and is public; make it private on its "
            f"page, choose another hub.repo_id, or set hub.private=false"
        )


def _ask(question: Any, refused: str) -> dict[str, Any]:
    try:
        with hub_timeout():
            return dict(question(HfApi()))
    except Exception as error:
        if is_access_denied(error):
            raise UserError(refused) from error
        raise SilentHubError(explain_error(error)) from error
