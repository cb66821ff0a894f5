"""A missing package is answered with what brings it."""

from importlib.util import find_spec

import pytest

from tinv.config.target_allowlist import check_targets
from tinv.optional_deps import remedy


@pytest.mark.parametrize("package", ["bitsandbytes", "lion_pytorch", "prodigyopt", "schedulefree"])
def test_a_missing_optimizer_is_answered_with_its_extra(package):
    assert remedy(package) == '; pip install "tinv[optimizers]"'


@pytest.mark.parametrize("package", ["torch", "pytest", "nobody_knows_me"])
def test_what_no_extra_brings_has_no_such_remedy(package):
    assert remedy(package) == ""


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_settings_that_call_a_missing_package_name_the_extra():
    assert check_targets("bitsandbytes.optim.AdamW8bit") == (
        "cannot find bitsandbytes.optim.AdamW8bit (the package bitsandbytes is not installed); "
        'pip install "tinv[optimizers]"'
    )
