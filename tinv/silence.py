"""Loading without the libraries' own progress bars and advice; their errors become one sentence."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.loaders.single_file_utils import SingleFileComponentError
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from tinv.errors import UserError

_LIBRARIES = (diffusers_logging, transformers_logging)
_lock = threading.Lock()
_before: list[tuple[int, bool]] = []
"""What the libraries were set to before the first of the blocks that run."""
_num_blocks = 0


@contextmanager
def quiet() -> Iterator[None]:
    """While the block runs, diffusers and transformers report errors only and draw no progress bars.

    That is global to the process: it lasts until the last block of all threads has ended.
    """
    global _num_blocks
    with _lock:
        if not _num_blocks:
            _before[:] = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in _LIBRARIES]
            for library in _LIBRARIES:
                library.set_verbosity_error()
                library.disable_progress_bar()
        _num_blocks += 1
    try:
        yield
    finally:
        with _lock:
            _num_blocks -= 1
            if not _num_blocks:
                for library, (verbosity, has_bar) in zip(_LIBRARIES, _before, strict=True):
                    library.set_verbosity(verbosity)
                    if has_bar:
                        library.enable_progress_bar()


@contextmanager
def explained_errors(setting: str, value: str) -> Iterator[None]:
    """Quiet, and what the libraries raise in the block becomes a UserError of one sentence.

    Args:
        setting: that names what is loaded.
        value: of the setting.
    """
    try:
        with quiet():
            yield
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError, SingleFileComponentError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"{setting}={value}: cannot be loaded ({reason}). Is it complete? Download it again."
        ) from error
