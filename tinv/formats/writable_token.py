"""Tokens that every format can hold: a file of each can be written, and reads back the same."""

from pathlib import Path

import torch

from tinv.concept import find_token_problem
from tinv.errors import UserError
from tinv.formats import diffusers
from tinv.formats.content import Content
from tinv.formats.negative import negative_token
from tinv.formats.reading import interpret

_RESERVED = ("*", "__metadata__")
"""AUTOMATIC1111's name of every token, and safetensors' name of the metadata."""


def check_writable_token(token: str, subject: str) -> None:
    """Checks that files can hold a token and its negative.

    Args:
        token: the placeholder token.
        subject: where it comes from, for the message: a setting or a file.

    Raises:
        UserError: a file would be read as something else, or not at all.
    """
    if problem := find_token_problem(token):
        raise UserError(f"{subject}={token!r}: {problem}. Choose another.")
    if not all(map(_reads_back, (token, negative_token(token)))):
        raise UserError(
            f"{subject}={token!r}: has a meaning of its own in embedding files, so no program could read the token. "
            f"Choose another, such as {f'<{token}>'!r}."
        )


def _reads_back(token: str) -> bool:
    """Returns whether a tensor of this name is read as the vectors of the token, and of no other layout."""
    if token in _RESERVED:
        return False
    try:
        layout, embeddings = interpret(Content(Path(diffusers.FILE_NAME), "torch", {token: torch.ones(1, 8)}))
    except UserError:
        return False
    return layout == diffusers.NAME and embeddings[0].placeholder_token == token
