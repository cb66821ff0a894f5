"""The studies in sweep/ are what sweep/README.md lists."""

import re
from pathlib import Path

import pytest

STUDIES = Path(__file__).resolve().parents[2] / "sweep"
ROW = re.compile(r"^\| \[(\w+)\]\(study/\1\.yaml\) \|.*\| (\d+) \|$", re.MULTILINE)
POINTS = dict(ROW.findall((STUDIES / "README.md").read_text(encoding="utf-8")))


def test_the_readme_lists_every_study():
    assert POINTS.keys() == {path.stem for path in (STUDIES / "study").glob("*.yaml")}


@pytest.mark.parametrize(
    "study", [pytest.param(study, marks=[pytest.mark.slow] if int(POINTS[study]) > 100 else []) for study in POINTS]
)
def test_a_study_sweeps_as_many_points_as_the_readme_says(run_main, study):
    result = run_main("--config-dir", str(STUDIES), f"+study={study}", "sweep.dry_run=true")
    assert result.code == 0, result.err
    assert re.search(rf"\b{POINTS[study]}\b( of {POINTS[study]})? points", result.out), result.out
