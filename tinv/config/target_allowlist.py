"""What settings may call: a configuration is data, often someone else's, and must not be able to call anything."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from tinv.config.signatures import signature
from tinv.optional_deps import remedy

TRUSTED = (
    "tinv",
    "lightning.pytorch",
    "torch.optim",
    "diffusers.optimization",
    "transformers.optimization",
    "bitsandbytes.optim",
    "lion_pytorch",
    "prodigyopt",
    "schedulefree",
)
"""Where a `_target_` may point."""

TRUST_VARIABLE = "TINV_TARGETS"
"""Environment variable that adds packages of your own, separated by commas. Deliberately not a setting."""


def check_targets(target: str) -> str:
    """Why a target may not be called, or nothing."""
    own = tuple(name for name in os.environ.get(TRUST_VARIABLE, "").replace(" ", "").split(",") if name)
    if not any(target.startswith(f"{package}.") for package in (*TRUSTED, *own)):
        return (
            f"{target} is none of the things that settings may call ({', '.join((*TRUSTED, *own))}); "
            f"to allow a package of your own, put it into the environment variable {TRUST_VARIABLE}"
        )
    try:
        package = signature(target).package
    except (LookupError, SyntaxError) as error:
        return f"cannot find {target} ({str(error) or type(error).__name__}){_remedy(target)}"
    if package != target.partition(".")[0]:
        return f"{target} belongs to {package}; name it there"
    return ""


def _remedy(target: str) -> str:
    package = target.partition(".")[0]
    return "" if find_spec(package) else remedy(package)


def disallowed_targets(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The paths below a node whose targets may not be called, each with the reason."""
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig | ListConfig) else node
    if isinstance(plain, dict):
        if "_target_" in plain and (reason := check_targets(str(plain["_target_"]))):
            yield path, reason
        for key, value in plain.items():
            yield from disallowed_targets(value, join(path, key))
    elif isinstance(plain, list):
        for position, value in enumerate(plain):
            yield from disallowed_targets(value, join(path, position))


def join(path: str, key: Any) -> str:
    """The place of a key below a path: `trainer.max_steps`, `samples.seeds[0]`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)
