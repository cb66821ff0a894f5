"""A private Slurm for all tests of this folder."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, reason_unavailable
from tests.slurm.jobs import BatchJob, Workspace


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the tests of this folder where Slurm is not installed."""
    reason = reason_unavailable()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeats every test as often as `make stress-slurm` sets it."""
    if rounds := int(os.environ.get("TINV_STRESS", "0")):
        metafunc.fixturenames.append("round")
        metafunc.parametrize("round", range(rounds))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Two nodes with two cores each. A socket needs a shorter path than pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="slurm."))
    folder.chmod(0o755)
    try:
        with Cluster(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def workspace(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The folder from which runs are submitted."""
    return Workspace(tmp_path_factory.mktemp("workspace"), cluster)


@pytest.fixture(scope="session")
def uninterrupted(workspace: Workspace) -> BatchJob:
    """A run that nothing interrupts."""
    job = workspace.sbatch(settings=["callbacks.trace.seconds=0"])
    assert job.until_state("COMPLETED", "FAILED") == "COMPLETED", job.output()
    return job
