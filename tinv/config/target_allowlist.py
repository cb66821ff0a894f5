"""The allowlist of `_target_`: settings may come from someone else, and must not be able to call anything they like."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from tinv.config.signatures import signature
from tinv.optional_deps import install_hint

ALLOWED_PACKAGES = (
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
"""The packages that a `_target_` may be in."""

TARGETS_VARIABLE = "TINV_TARGETS"
"""Environment variable with further packages, separated by commas; not a setting, because settings are not trusted."""


def additional_packages() -> list[str]:
    """Returns the packages that the environment variable allows."""
    return [name for name in os.environ.get(TARGETS_VARIABLE, "").replace(" ", "").split(",") if name]


def check_target(target: str) -> str:
    """Returns the reason why settings may not call a target, or an empty string if they may."""
    packages = (*ALLOWED_PACKAGES, *additional_packages())
    if not any(target.startswith(f"{package}.") for package in packages):
        return (
            f"{target} is not in a package that settings may call ({', '.join(packages)}); "
            f"to allow a package of yours, add it to the environment variable {TARGETS_VARIABLE}"
        )
    top = target.partition(".")[0]
    try:
        package = signature(target).package
    except (LookupError, SyntaxError) as error:
        hint = "" if find_spec(top) else install_hint(top)
        return f"cannot find {target} ({str(error) or type(error).__name__}){hint}"
    return "" if package == top else f"{target} is defined in {package}; use its name there"


def disallowed_targets(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yields the path and the reason of each target below a node that settings may not call."""
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig | ListConfig) else node
    if isinstance(plain, dict):
        if "_target_" in plain and (reason := check_target(str(plain["_target_"]))):
            yield path, reason
        for key, value in plain.items():
            yield from disallowed_targets(value, join_path(path, key))
    elif isinstance(plain, list):
        for index, value in enumerate(plain):
            yield from disallowed_targets(value, join_path(path, index))


def join_path(path: str, key: Any) -> str:
    """Returns the path of a key below another path: `trainer.max_steps`, `samples.seeds[0]`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)
