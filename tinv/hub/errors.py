"""What stands between us and the Hub, in words and without secrets."""

from collections.abc import Iterator

_STATUS = {
    400: "the Hub does not take the request",
    401: "the Hub wants to know who you are: log in with `hf auth login`, or check the token in HF_TOKEN",
    403: "the Hub does not let this token do that; make one that may at https://huggingface.co/settings/tokens",
    404: "the Hub knows no such repository or revision, or does not show it to you",
    409: "the Hub is busy with another change of the same repository",
    413: "the Hub finds it too large",
    429: "the Hub wants fewer requests; wait some minutes",
}


def explain_error(error: BaseException) -> str:
    """Why a request to the Hub failed, in one sentence."""
    for cause in _causes(error):
        kinds = [kind.__name__ for kind in type(cause).__mro__]
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if "GatedRepoError" in kinds:
            return "its license has to be accepted on its page on the Hub first, with the account that the token is of"
        if status is not None:
            return f"{_STATUS.get(status, 'the Hub has a fault' if status >= 500 else 'the Hub refuses')} ({status})"
        if "OfflineModeIsEnabled" in kinds:
            return "HF_HUB_OFFLINE is set"
        if "TimeoutException" in kinds or isinstance(cause, TimeoutError):
            return "the Hub does not answer in time"
        if {"ConnectError", "NetworkError"} & set(kinds) or isinstance(cause, ConnectionError):
            return "the Hub cannot be reached"
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def is_access_denied(error: BaseException) -> bool:
    """Whether the Hub answered and said that this token may not."""
    return any(getattr(getattr(e, "response", None), "status_code", None) in (401, 403) for e in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
