"""Optional dependencies: which extra of tinv installs a package."""

import re
from importlib.metadata import PackageNotFoundError, requires

_REQUIRED_BY_EXTRA = re.compile(r"([A-Za-z0-9._-]+).*extra == ['\"]([a-z0-9-]+)['\"]")


def install_hint(package: str) -> str:
    """Returns `; pip install "tinv[optimizers]"` for a missing package, or an empty string if no extra has it.

    Args:
        package: the name to import, such as `lion_pytorch`.
    """
    try:
        requirements = requires("tinv") or []
    except PackageNotFoundError:  # run from a folder, not installed
        return ""
    for requirement in requirements:
        match = _REQUIRED_BY_EXTRA.match(requirement)
        if match and match[2] != "dev" and _normalize(match[1]) == _normalize(package):
            return f'; pip install "tinv[{match[2]}]"'
    return ""


def _normalize(package: str) -> str:
    return package.replace("_", "-").lower()
