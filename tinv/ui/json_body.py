"""The JSON that a page sends."""

from typing import Any

from starlette.requests import ClientDisconnect, Request

from tinv.errors import UserError


async def read_object(request: Request) -> dict[str, Any]:
    """Returns the JSON object of a request.

    Raises:
        UserError: there is none.
    """
    try:
        body = await request.json()
    except (ValueError, RecursionError, ClientDisconnect):
        body = None
    if not isinstance(body, dict):
        raise UserError("The page sent something unreadable; load it again.")
    return body
