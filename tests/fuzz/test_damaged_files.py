"""Every file of a run and of a sweep is damaged at random: no command ends with a traceback, a resume stays exact."""

import json
import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.conftest import CaseCounter
from tests.report.folders import write_run, write_samples, write_sweep
from tests.training.callbacks.fitting import fit
from tests.training.test_run import STEPS, command, run, run_dir
from tinv.cli import main as tinv
from tinv.errors import UserError
from tinv.models import LatentDiffusion
from tinv.runs.layout import CHECKPOINTS, list_checkpoints
from tinv.runs.reader import RunReader
from tinv.runs.record_status import record_status
from tinv.runs.resume import find_checkpoint
from tinv.runs.sweep_point import find_sweep_point
from tinv.runs.trial import read_trial
from tinv.sweeps.plan_file import check_unchanged, read_plan, renumber
from tinv.sweeps.points import SweepPoint
from tinv.training.callbacks import Checkpoints, ProgressFile, RunCard
from tinv.training.loggers.csv_logger import CSVLogger

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
JSON_VALUES: list[Any] = [None, True, -1, 0, 1e308, 10**30, "", "x", "\x00", [], [1, 2], {}, {"x": []}]


def flip_bits(content: bytes, rng: random.Random) -> bytes:
    """Flips one to eight bits."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8) if content else 0):
        changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    """Removes the end."""
    return content[: rng.randrange(len(content) or 1)]


def zero_block(content: bytes, rng: random.Random) -> bytes:
    """Replaces a block by zeros, as a file system does after a power failure."""
    start = rng.randrange(len(content) or 1)
    size = len(content[start : start + rng.choice([1, 16, 512, 4096])])
    return content[:start] + bytes(size) + content[start + size :]


def empty(content: bytes, rng: random.Random) -> bytes:
    """Removes everything."""
    return b""


def change_json(content: bytes, rng: random.Random) -> bytes:
    """Gives a random node of a JSON document another type, or removes it."""
    tree = {"root": json.loads(content)}
    node: Any = tree
    while True:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if not (isinstance(node[key], dict | list) and node[key]) or rng.random() < 0.2:
            break
        node = node[key]
    if rng.random() < 0.2 and node is not tree:
        del node[key]
    else:
        node[key] = rng.choice(JSON_VALUES)
    return json.dumps(tree["root"]).encode()


@contextmanager
def damaged(path: Path, rng: random.Random) -> Iterator[bytes]:
    """Damages a file while the block runs, and yields its damaged content."""
    content = path.read_bytes()
    damages: list[Callable[[bytes, random.Random], bytes]] = [flip_bits, cut, zero_block, empty]
    damage = rng.choice([*damages, *([change_json] * 4 if path.suffix == ".json" else [])])
    path.write_bytes(changed := damage(content, rng))
    try:
        yield changed
    finally:
        path.write_bytes(content)


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".html", ".lock"))


def read_everything(folder: Path, output: Path, *, has_report: bool = True) -> None:
    """Runs what reads a run or a sweep: the commands, and what a resume reads; a UserError is an answer."""
    for argv in (["status", str(folder)], ["status", "--json", str(folder)]):
        assert tinv(argv) in (0, 1)
    if has_report:
        assert tinv(["report", str(folder), "--output", str(output)]) in (0, 1)
    for embedding in RunReader(folder).embeddings:
        assert tinv(["inspect", str(embedding)]) in (0, 1)
    with suppress(UserError):
        read_trial(folder)
    CSVLogger(folder)
    find_sweep_point(folder)


@pytest.fixture(scope="module")
def finished_run(workspace: Path) -> Path:
    """The folder of a run of `train.py`."""
    argv = command(workspace, "name=damaged", "callbacks.checkpoints.every_n_steps=5")
    assert (result := run(argv)).returncode == 0, result.stderr
    return run_dir(workspace, "damaged")


def test_every_command_reads_a_run_with_a_damaged_file(finished_run, tmp_path, count_cases: CaseCounter):
    files = [path for path in files_of(finished_run) if path.parent.name != CHECKPOINTS]
    for number in range(count_cases.scaled(800)):
        path, state = count_cases.rng.choice(files), f"{number} {count_cases.rng.random()}"
        with count_cases.case((path.name, state)), damaged(path, random.Random(state)):
            read_everything(finished_run, tmp_path / "report.html", has_report=number % 10 == 0)  # it takes the longest


def test_a_session_starts_in_a_folder_with_a_damaged_status(finished_run, count_cases: CaseCounter):
    path = finished_run / "status.json"
    for number in range(count_cases.scaled(500)):
        state = f"{number} {count_cases.rng.random()}"
        with count_cases.case(state), damaged(path, random.Random(state)):
            with record_status(finished_run):
                pass
            assert RunReader(finished_run).status.status == "done"


def test_no_damaged_checkpoint_is_used(finished_run, count_cases: CaseCounter):
    checkpoints = list_checkpoints(finished_run)
    for number in range(count_cases.scaled(3000)):
        i, state = count_cases.rng.randrange(len(checkpoints)), f"{number} {count_cases.rng.random()}"
        intact, problems = checkpoints[i].read_bytes(), []
        with count_cases.case((i, state)), damaged(checkpoints[i], random.Random(state)) as content:
            is_passed_over = i == 0 and content != intact
            assert find_checkpoint(finished_run, "latest", problems.append) == checkpoints[is_passed_over]
            assert len(problems) == is_passed_over


def test_every_command_reads_a_sweep_with_a_damaged_file(tmp_path, count_cases: CaseCounter):
    sweep = write_sweep(tmp_path / "sweep", [{"seed": "1"}, {"seed": "2"}])
    for number in range(2):
        write_run(sweep / str(number))
        write_samples(sweep / str(number), [0, 10])
    points = [SweepPoint(number, (), {"seed": str(number + 1)}) for number in range(2)]
    settings = {point.key: {"monitor": "val/loss", "seed": 0} for point in points}
    files = [path for path in files_of(sweep) if path.suffix != ".csv" or path.parent != sweep]
    for number in range(count_cases.scaled(800)):
        path = count_cases.rng.choice([*files, *[sweep / "plan.json"] * len(files)])
        state = f"{number} {count_cases.rng.random()}"
        with count_cases.case((path.name, state)), damaged(path, random.Random(state)):
            read_everything(sweep, tmp_path / "report.html")
            find_sweep_point(sweep / "0")
            with suppress(UserError):
                plan = read_plan(sweep)
                renumber(plan, points)
                check_unchanged(plan, settings)


def test_a_resume_with_a_damaged_file_is_exact(tmp_path, model: LatentDiffusion, count_cases: CaseCounter):
    def train(folder: Path, max_steps: int, resume: Path | None = None) -> None:
        callbacks = [Checkpoints(folder, every_n_steps=2), RunCard(folder), ProgressFile(folder, every_s=0)]
        fit(folder, model, callbacks, max_steps=max_steps, loggers=[CSVLogger(folder)], resume=resume)

    def losses(folder: Path) -> dict[int, str]:
        return {step: row["train/loss"] for step, row in RunReader(folder).metrics.items() if "train/loss" in row}

    train(tmp_path / "whole", 6)
    train(half := tmp_path / "half", 4)
    expected = losses(tmp_path / "whole")
    files = [path.relative_to(half) for path in files_of(half) if path.parent.name != "images"]
    for number in range(count_cases.scaled(24)):
        name, state = files[number % len(files)], f"{number} {count_cases.rng.random()}"
        folder = Path(shutil.copytree(half, tmp_path / str(number)))
        with count_cases.case((str(name), state)), damaged(folder / name, random.Random(state)):
            checkpoint = find_checkpoint(folder, "latest")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                train(folder, 6, checkpoint)
            now = losses(folder)
            assert {step: now.get(step) for step in expected if step >= 4} == {4: expected[4], 5: expected[5]}
            lost = [step for step in expected if now.get(step) != expected[step]]
            assert not lost or any("metrics.csv" in str(warning.message) for warning in caught), lost
            assert RunReader(folder).card["status"] == "finished"


@pytest.mark.parametrize("name", ["checkpoint", "metrics.csv", "run.json", "status.json"])
def test_the_command_resumes_with_a_damaged_file(workspace, name, count_cases: CaseCounter):
    argv = command(workspace, f"name=real_{name.partition('.')[0]}", "callbacks.checkpoints.every_n_steps=5")
    assert run([*argv, "trainer.max_steps=10"]).returncode == 0
    folder = run_dir(workspace, f"real_{name.partition('.')[0]}")
    path = list_checkpoints(folder)[0] if name == "checkpoint" else folder / name
    path.write_bytes(flip_bits(path.read_bytes()[:-3], count_cases.rng))
    with count_cases.case(name):
        result = run([*argv, f"trainer.max_steps={STEPS}", "resume=latest"])
        assert result.returncode == 0 and "Traceback" not in result.stderr, result.stderr
        assert path.name in result.stderr
        assert RunReader(folder).status.status == "done" and list_checkpoints(folder)[0].stem == f"step_{STEPS:06d}"
