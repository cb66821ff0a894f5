"""torch.compile for the U-Net: minutes of waiting at the first step, faster steps afterwards."""

import os
import shutil
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tinv.errors import UserError

_COMPILERS = ("c++", "g++", "clang++", "cc", "gcc", "clang", "cl", "icx")


def check_compiler() -> None:
    """Refuse to compile where torch would find no compiler to do it with: it needs one on every kind of device.

    Raises:
        UserError: there is none.
    """
    named = [os.environ[variable] for variable in ("CXX", "CC") if os.environ.get(variable)]
    if not any(shutil.which(compiler) for compiler in (*named, *_COMPILERS)):
        raise UserError(
            "model.compile=true needs a C++ compiler, and none was found; install g++ or clang++ (or name yours in "
            "the environment variable CXX), or write model.compile=false"
        )


def keep_compiled(folder: Path) -> None:
    """Have torch keep what it compiles in a folder, for the next run; its own place is emptied when a machine starts.

    `TORCHINDUCTOR_CACHE_DIR` stays, if a user has set it; torch sets it to its own place as soon as it is imported.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    if os.environ.get("TORCHINDUCTOR_CACHE_DIR", default_cache_dir()) == default_cache_dir():
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


def compile_unet(unet: nn.Module) -> None:
    """Compile what training runs, for the one shape of its batches.

    Without gradients, so for samples and `val/loss`, the U-Net runs as it is: every other shape would cost another
    wait, and `val/loss` can be compared between runs with and without.

    The first training step raises a UserError if the compiler cannot cope.
    """
    plain = unet.forward
    compiled = torch.compile(plain, dynamic=False)

    @wraps(plain)
    def forward(*arguments: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return plain(*arguments, **options)
        from torch._dynamo.exc import TorchDynamoException

        try:
            return compiled(*arguments, **options)
        except TorchDynamoException as error:
            reason = str(getattr(error, "inner_exception", error)).strip().partition("\n")[0]
            raise UserError(
                f"model.compile=true: the U-Net cannot be compiled here ({reason}); write model.compile=false"
            ) from error

    unet.forward = forward
