"""Signals at random times: any end leaves a run that resumes to the same losses, and nothing behind."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz.conftest import CaseCounter
from tests.sweeps.tiny_runs import TINY, write_tiny
from tinv.runs.checkpoint_digest import read_verified
from tinv.runs.layout import checkpoint_step, list_checkpoints
from tinv.runs.parent_process import is_alive
from tinv.runs.reader import RunReader

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")]
ROOT = Path(__file__).resolve().parents[2]
STEPS = 30
RUN = [*TINY, "data.val_draws=4", "trainer=cpu", f"trainer.max_steps={STEPS}", "trainer.log_every_n_steps=1"]
RUN += ["trainer.val_check_interval=10", "callbacks.samples.every_n_steps=10", "callbacks.samples.seeds=[0]"]
RUN += ["callbacks.samples.num_inference_steps=1", "callbacks.checkpoints.every_n_steps=5"]
KINDS = {
    "single": [],
    "sweep": ["-m", "seed=1", "hydra/launcher=gpus", "hydra.launcher.devices=[]", "hydra.launcher.n_jobs=1"],
    "ddp": ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"],
}
SIGNALS = {
    "INT": [signal.SIGINT],
    "TERM": [signal.SIGTERM],
    "KILL": [getattr(signal, "SIGKILL", signal.SIGTERM)],
    "INT INT": [signal.SIGINT] * 2,
}
EXIT_CODES = {"INT": (130,), "TERM": (143,), "KILL": (-9,), "INT INT": (130, -2)}


def start(folder: Path, argv: list[str]) -> subprocess.Popen[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "FUZZ_SIGNALS": str(folder)}
    command = [sys.executable, str(ROOT / "train.py"), *argv]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=folder, env=env, text=True, start_new_session=True, **pipes)


def finish(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=300)[0]


def find_run(folder: Path, name: str, kind: str) -> Path:
    (outputs,) = (folder / "outputs" / name).iterdir()
    return outputs / "0" if kind == "sweep" else outputs


def read_losses(run: Path) -> list[tuple[str, str, str]]:
    with (run / "metrics.csv").open() as file:
        return [(row["step"], row["train/loss"], row["val/loss"]) for row in csv.DictReader(file)]


def list_processes(folder: Path) -> list[int]:
    """The processes that a run has started in a folder, by their environment."""
    import psutil

    pids = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("FUZZ_SIGNALS") == str(folder) and is_alive(process.pid):
                pids.append(process.pid)
        except psutil.Error:
            continue
    return pids


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A folder with a run of each kind, and the seconds that each took."""
    folder, seconds = tmp_path_factory.mktemp("uninterrupted"), {}
    write_tiny(folder)
    for kind, overrides in KINDS.items():
        began = time.monotonic()
        process = start(folder, [*RUN, *overrides, f"name={kind}"])
        output = finish(process)
        assert process.returncode == 0, output
        seconds[kind] = time.monotonic() - began
    return folder, seconds


def test_any_signal_at_any_time_leaves_a_run_that_resumes_the_same(uninterrupted, count_cases: CaseCounter):
    folder, seconds = uninterrupted
    for number in range(count_cases.scaled(6)):
        kind = [*KINDS][number % len(KINDS)]
        name = [*SIGNALS][(number + number // len(SIGNALS)) % len(SIGNALS)]
        delay = count_cases.rng.uniform(0.3, 1) * seconds[kind]
        with count_cases.case(f"{name} after {delay:.2f} s, {kind}, case {number}"):
            check_case(folder, f"case{number}", kind, name, delay)


def check_case(folder: Path, case: str, kind: str, name: str, delay: float) -> None:
    argv = [*RUN, *KINDS[kind], f"name={case}"]
    process = start(folder, argv)
    time.sleep(delay)
    for sent in SIGNALS[name]:
        process.send_signal(sent)
        time.sleep(0.3)
    output = finish(process)
    if process.returncode == 0:  # it had ended before the signal
        return
    assert process.returncode in EXIT_CODES[name], output
    deadline = time.monotonic() + 60
    while list_processes(folder):
        assert time.monotonic() < deadline, f"left behind: {list_processes(folder)}"
        time.sleep(0.2)
    if not list((folder / "outputs").glob(f"{case}/*")):
        return
    run = find_run(folder, case, kind)
    checkpoints = list_checkpoints(run)
    reader = RunReader(run)
    if checkpoints:
        read_verified(checkpoints[0])
        assert reader.progress is not None and reader.progress.step >= checkpoint_step(checkpoints[0])
    if name in ("INT", "TERM"):
        assert "interrupted by SIG" in output, output
        assert reader.status is None or reader.status.status in ("interrupted", "done")
        if checkpoints and kind != "sweep":
            assert reader.progress is not None and reader.progress.step == checkpoint_step(checkpoints[0])
            assert f"resume=outputs/{case}/{run.name}" in output, output
    resume = [f"sweep.resume={run.parent}"] if kind == "sweep" else [*argv, "resume=auto", f"hydra.run.dir={run}"]
    again = start(folder, resume)
    output = finish(again)
    assert again.returncode == 0, output
    assert read_losses(run) == read_losses(find_run(folder, kind, kind))
    assert not list(run.rglob("*.part"))
