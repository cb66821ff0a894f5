"""Explains errors of the Hub's client in one sentence, without secrets."""

from collections.abc import Iterator

_STATUS = {
    400: "the Hub rejects the request",
    401: "the Hub needs a login: run `hf auth login`, or check the token in HF_TOKEN",
    403: "the token has no permission for this; create one at https://huggingface.co/settings/tokens",
    404: "the repository or revision does not exist, or the token has no access to it",
    409: "another change of the repository is in progress",
    413: "the upload is too large for the Hub",
    429: "the Hub limits the rate of requests; wait some minutes",
}


def explain_error(error: BaseException) -> str:
    """Returns why a request to the Hub failed, in one sentence."""
    for cause in _causes(error):
        kinds = [kind.__name__ for kind in type(cause).__mro__]
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if "GatedRepoError" in kinds:
            return "accept its license on its page on the Hub first, with the account of the token"
        if status is not None:
            default = "the Hub has a server error" if status >= 500 else "the Hub refuses"
            return f"{_STATUS.get(status, default)} ({status})"
        if "OfflineModeIsEnabled" in kinds:
            return "HF_HUB_OFFLINE is set"
        if "TimeoutException" in kinds or isinstance(cause, TimeoutError):
            return "the Hub does not answer in time"
        if {"ConnectError", "NetworkError"} & set(kinds) or isinstance(cause, ConnectionError):
            return "the Hub cannot be reached"
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def is_access_denied(error: BaseException) -> bool:
    """Whether the Hub answered that the token is invalid or lacks a permission."""
    return any(getattr(getattr(e, "response", None), "status_code", None) in (401, 403) for e in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
