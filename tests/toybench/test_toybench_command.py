"""`python -m tinv.toybench`: a sweep over the twelve, taken up where it was."""

import subprocess
import sys
from pathlib import Path

from tinv.benchmark.training import command
from tinv.toybench import NAMES
from tinv.toybench.__main__ import typed


def test_its_sweep_has_a_point_for_each_of_the_twelve_and_the_settings_that_were_typed(tmp_path: Path) -> None:
    """In a process of its own, as it is started: the plan, without a run."""
    words = command(tmp_path / "out", [*typed(tmp_path / "out", NAMES, ["embedding.ema=0.5"]), "sweep.dry_run=true"])
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in NAMES)
    assert words[0] == sys.executable


def test_what_was_begun_is_gone_on_with(tmp_path: Path) -> None:
    begun = tmp_path / "runs" / "2026-11-22_20-00-00"
    begun.mkdir(parents=True)
    (begun / "plan.json").write_text("{}")
    assert command(tmp_path, typed(tmp_path, NAMES, []))[3:] == [f"sweep.resume={begun}"]
