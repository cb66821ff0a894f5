"""One private Slurm for all of these tests."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, why_not
from tests.slurm.jobs import BatchJob, Place


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder want a Slurm; where there is none they say why they are left out."""
    reason = why_not()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test as often as `make stress-slurm` asks for it."""
    if rounds := int(os.environ.get("TINV_STRESS", "0")):
        metafunc.fixturenames.append("round")
        metafunc.parametrize("round", range(rounds))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Two nodes with two cores each; sockets want a shorter path than pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="slurm."))
    folder.chmod(0o755)
    try:
        with Cluster(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Where the runs are submitted."""
    return Place(tmp_path_factory.mktemp("place"), cluster)


@pytest.fixture(scope="session")
def unbroken(place: Place) -> BatchJob:
    """A run that nobody interferes with."""
    job = place.sbatch(settings=["callbacks.trace.seconds=0"])
    assert job.until_state("COMPLETED", "FAILED") == "COMPLETED", job.said()
    return job
