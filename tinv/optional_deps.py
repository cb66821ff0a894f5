"""Packages that tinv works without, and how they are had."""

import re
from importlib.metadata import PackageNotFoundError, requires

_NEEDED_BY_EXTRA = re.compile(r"([A-Za-z0-9._-]+).*extra == ['\"]([a-z0-9-]+)['\"]")


def remedy(package: str) -> str:
    """What to type where a package is missing: `; pip install "tinv[optimizers]"`, or nothing if no extra brings it.

    Args:
        package: as it is imported, such as `lion_pytorch`.
    """
    wanted = package.replace("_", "-").lower()
    for requirement in _requirements():
        found = _NEEDED_BY_EXTRA.match(requirement)
        if found and found[2] != "dev" and found[1].replace("_", "-").lower() == wanted:
            return f'; pip install "tinv[{found[2]}]"'
    return ""


def _requirements() -> list[str]:
    try:
        return requires("tinv") or []
    except PackageNotFoundError:  # run from a folder, not installed
        return []
