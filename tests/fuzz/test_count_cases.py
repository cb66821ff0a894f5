"""A generator tries all of its cases, fails if one fails, and the summary has its counts."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GENERATORS = """
import pytest

@pytest.mark.parametrize("failing", [7, 99])
def test_numbers(count_cases, failing):
    for number in range(count_cases.scaled(20)):
        with count_cases.case(f"number {number}"):
            assert number != failing

def test_nothing(count_cases):
    pass
"""


def test_all_cases_are_tried_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINV_FUZZ_SCALE", "1")
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_numbers.py").write_text(GENERATORS, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)]
    output = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    assert "1 of 20 cases failed:\n'number 7': AssertionError: assert 7 != 7" in output
    assert "no case was tried" in output
    assert "test_numbers.py" in output and "     40 tried,     1 failed" in output
    assert "2 failed, 1 passed" in output
