"""The list of flags is that of the scripts."""

from pathlib import Path

import pytest

from tests.from_diffusers.scripts import REFERENCE, SCRIPTS, read_flags
from tinv.from_diffusers.command_line import flags_of
from tinv.from_diffusers.flag import FILE_NAMES
from tinv.from_diffusers.flags import FLAGS


def test_the_lists_are_as_long_as_the_scripts_say():
    assert {script: len(names) for script, names in SCRIPTS.items()} == {
        "sd": 48,
        "sdxl": 46,
        "flax": 30,
        "multi_token": 47,
    }
    assert all(len(set(names)) == len(names) for names in SCRIPTS.values())


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_flag_of_a_script_is_known_and_no_other(script):
    assert {flag.name for flag in flags_of(script)} == set(SCRIPTS[script])


def test_a_flag_is_described_once():
    names = [flag.name for flag in FLAGS]
    assert len(set(names)) == len(names)


@pytest.mark.skipif(not REFERENCE, reason="TINV_REFERENCE names no textual_inversion.py of diffusers'")
@pytest.mark.parametrize("script", ["sd", "sdxl", "flax"])
def test_kinds_and_defaults_are_those_of_the_script_itself(script):
    theirs = read_flags(Path(str(REFERENCE)).with_name(FILE_NAMES[script]))
    ours = {
        flag.name: {"kind": flag.kind.__name__, "default": flag.default_of(script), "required": flag.required}
        for flag in flags_of(script)
    }
    assert ours == theirs
