"""`tinv tell` steers real runs: of one process, of several, and of a sweep; by several senders at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sweeps.tiny_runs import TINY, write_tiny
from tinv.runs.layout import list_checkpoints
from tinv.runs.reader import RunReader
from tinv.runs.requests import DONE, Request, list_answers
from tinv.runs.send_request import send_request

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")]
ROOT = Path(__file__).resolve().parents[2]
RUN = [*TINY, "data.val_draws=2", "trainer=cpu", "trainer.log_every_n_steps=1", "trainer.val_check_interval=1000000"]
RUN += ["callbacks.samples.every_n_steps=null", "callbacks.samples.num_inference_steps=1", "monitor=null"]
DDP = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
KINDS = {
    "single": [],
    "ddp": DDP,
    "sweep": ["-m", "seed=0", "hydra/launcher=gpus", "hydra.launcher.devices=[]", "hydra.launcher.n_jobs=1"],
}
COMPARED = 20
"""Steps whose losses must be those of a run that was never asked."""


@pytest.fixture
def workspace(tmp_path):
    write_tiny(tmp_path)
    return tmp_path


def start(folder: Path, *words: str, module: str = "tinv.training.main") -> "subprocess.Popen[str]":
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = (
        [sys.executable, str(ROOT / "train.py")] if module == "tinv.training.main" else [sys.executable, "-m", module]
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([*command, *words], cwd=folder, env=env, text=True, start_new_session=True, **pipes)


def wait_until(condition, process: "subprocess.Popen[str]"):
    deadline = time.monotonic() + 300
    while not (value := condition()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def find_run(folder: Path, name: str) -> Path | None:
    return next((path.parent for path in (folder / "outputs" / name).rglob("status.json")), None)


def has_steps(run: Path, steps: int) -> bool:
    return (progress := RunReader(run).progress) is not None and progress.step >= steps


def losses(run: Path) -> dict[int, str]:
    return {step: row["train/loss"] for step, row in RunReader(run).metrics.items() if step < COMPARED}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_asked_by_several_at_once_and_learns_the_same(workspace, kind):
    settings = [*RUN, *KINDS[kind], "callbacks.progress_file.every_s=0"]
    process = start(workspace, *settings, "name=asked", "trainer.max_steps=100000")
    run = wait_until(lambda: find_run(workspace, "asked"), process)
    early = [Request("sample", prompts=["a {}"], seeds=[3]), Request("checkpoint"), Request("extend", steps=5)]
    for request in early:  # the model still loads, so these are answered after the first step
        send_request(run, request)
    wait_until(lambda: len([answer for answer in list_answers(run) if answer.state == DONE]) == len(early), process)
    assert {answer.step for answer in list_answers(run)} == {1}
    tellers = [
        start(workspace, "tell", str(run), *words, module="tinv.cli") for words in (["checkpoint"], ["export"]) * 2
    ]
    assert [teller.wait(timeout=300) for teller in tellers] == [0] * 4, [t.communicate()[0] for t in tellers]
    wait_until(lambda: has_steps(run, COMPARED), process)
    assert RunReader(run).progress.max_steps == 100005
    stop = start(workspace, "tell", str(run), "stop", module="tinv.cli")
    output = process.communicate(timeout=300)[0]
    assert stop.wait(timeout=300) == process.returncode == 0, (output, stop.communicate())
    status = RunReader(run).status
    assert status.status == "done" and status.reason.startswith("stopped on request at step")
    assert (run / "learned_embeds.safetensors").is_file() and list((run / "exports").iterdir())
    plain = start(workspace, *settings, "name=plain", f"trainer.max_steps={COMPARED}")
    output = plain.communicate(timeout=300)[0]
    assert plain.returncode == 0, output
    assert len(losses(run)) == COMPARED and losses(run) == losses(find_run(workspace, "plain"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_discarded_run_ends_with_success_and_without_a_result(workspace, kind):
    settings = [*RUN, *KINDS[kind], "name=asked", "trainer.max_steps=100000", "callbacks.checkpoints.every_n_steps=5"]
    process = start(workspace, *settings)
    run = wait_until(lambda: find_run(workspace, "asked"), process)
    wait_until(lambda: list_checkpoints(run), process)
    teller = start(workspace, "tell", str(run), "stop", "--discard", module="tinv.cli")
    answer = teller.communicate(timeout=300)[0]
    output = process.communicate(timeout=300)[0]
    assert (teller.returncode, process.returncode) == (0, 0), (answer, output)
    assert "Removed: checkpoints" in answer and "Traceback" not in output
    assert RunReader(run).status.status == "discarded" and not list_checkpoints(run)
    assert not [*run.rglob("learned_embeds*")] and (run / "metrics.csv").is_file()


def test_a_killed_run_is_noticed_and_its_resume_does_not_obey_old_requests(workspace):
    settings = [*RUN, "name=asked", "callbacks.checkpoints.every_n_steps=5", "callbacks.requests.every_s=1000"]
    process = start(workspace, *settings, "trainer.max_steps=100000")
    run = wait_until(lambda: find_run(workspace, "asked"), process)
    wait_until(lambda: list_checkpoints(run), process)
    teller = start(workspace, "tell", str(run), "stop", "--no-wait", module="tinv.cli")
    assert teller.wait(timeout=300) == 0
    process.send_signal(signal.SIGKILL)
    process.communicate()
    teller = start(workspace, "tell", str(run), "checkpoint", module="tinv.cli")
    assert "was killed" in teller.communicate(timeout=300)[0] and teller.returncode == 1
    steps = RunReader(run).progress.step + 5
    again = start(workspace, *settings, "resume=latest", f"trainer.max_steps={steps}")
    output = again.communicate(timeout=300)[0]
    assert again.returncode == 0 and has_steps(run, steps), output
    assert [answer.state for answer in list_answers(run)] == ["refused"]
