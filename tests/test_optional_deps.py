"""The message about a missing package names the extra that installs it."""

from importlib.util import find_spec

import pytest

from tinv.config.target_allowlist import check_target
from tinv.optional_deps import install_hint


@pytest.mark.parametrize("package", ["bitsandbytes", "lion_pytorch", "prodigyopt", "schedulefree"])
def test_a_missing_optimizer_has_an_extra(package):
    assert install_hint(package) == '; pip install "tinv[optimizers]"'


@pytest.mark.parametrize("package", ["torch", "pytest", "nobody_knows_me"])
def test_other_packages_have_no_hint(package):
    assert install_hint(package) == ""


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_a_target_in_a_missing_package_names_the_extra():
    assert check_target("bitsandbytes.optim.AdamW8bit") == (
        "cannot find bitsandbytes.optim.AdamW8bit (the package bitsandbytes is not installed); "
        'pip install "tinv[optimizers]"'
    )
