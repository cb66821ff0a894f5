"""The study of methods: it contains every method once, and gives each the same time."""

import re
from collections.abc import Iterator

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tests.conftest import ROOT
from tinv.config.compose import Groups
from tinv.config.validate import check
from tinv.training.main import register
from tinv.training.preflight import preflight

SWEEP = ROOT / "sweep"
STUDY = yaml.safe_load((SWEEP / "study" / "methods.yaml").read_text(encoding="utf-8"))
METHODS = STUDY["hydra"]["sweeper"]["params"]["+method"].replace(" ", "").split(",")
STEP_COSTS = {
    name: float(ratio)
    for names, ratio in re.findall(
        r"^\| ([`\w, ]+) \| ([\d.]+) \([\d.]+ to", (ROOT / "docs/methods.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    for name in re.findall(r"\w+", names)
}
"""The time of a step relative to a plain one, from the table of the documentation."""


@pytest.fixture(scope="module")
def groups() -> Iterator[Groups]:
    register()
    yield Groups(str(SWEEP))
    HydraConfig.instance().cfg = None


def compose(groups: Groups, method: str) -> DictConfig:
    return check(groups.compose(["+study=methods", "hydra.mode=RUN", f"+method={method}"]))


def test_the_study_has_every_method_once():
    assert sorted(METHODS) == sorted(path.stem for path in (SWEEP / "method").glob("*.yaml"))


@pytest.mark.parametrize("method", METHODS)
def test_each_point_has_its_own_settings(groups, method):
    assert (compose(groups, method) == check(groups.compose(["+study=methods", "hydra.mode=RUN"]))) == (
        method == "plain"
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_method_with_slower_steps_has_fewer_of_them(groups, method):
    steps = compose(groups, "plain").trainer.max_steps / STEP_COSTS.get(method, 1.0)
    assert compose(groups, method).trainer.max_steps == pytest.approx(steps, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_each_point_passes_preflight(groups, method):
    assert len(preflight(compose(groups, method))) == 1
