"""Batch jobs that train a tiny model slowly enough to be interrupted, and their results."""

import csv
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from tests.slurm.cluster import Cluster
from tests.tiny import tiny_images, tiny_pipeline

ROOT = Path(__file__).resolve().parents[2]
STEPS = 40
TRACE = '''
"""Records every step, and slows the run down until its job is requeued."""
import os
import time

from lightning.pytorch import Callback


class Trace(Callback):
    def __init__(self, folder: str, seconds: float = 0.0):
        self.folder, self.seconds = folder, seconds

    def on_train_batch_end(self, trainer, *_):
        restarts = int(os.environ.get("SLURM_RESTART_COUNT", 0))
        with open(f"{self.folder}/trace.{trainer.global_rank}", "a") as file:
            file.write(f"{trainer.global_step} {restarts} {os.getpid()}\\n")
        time.sleep(0 if restarts else self.seconds)
'''
SETTINGS = [
    *["model=local", "model.pretrained=model", "data.folder=images", "data.val_draws=4", "trainer=cpu"],
    *["concept.placeholder_token=my-cat", "concept.initializer_token=toy", f"trainer.max_steps={STEPS}"],
    *["trainer.val_check_interval=10", "trainer.log_every_n_steps=1", "~callbacks.samples"],
    *["callbacks.checkpoints.every_n_steps=10", "callbacks.export.every_n_steps=null"],
    *[
        "+callbacks.trace._target_=tracing.Trace",
        "+callbacks.trace.folder=${paths.output_dir}",
        "+callbacks.trace.seconds=0.1",
    ],
]
ON_TWO_NODES = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.devices=1"]
ON_TWO_NODES += ["+trainer.num_nodes=2"]
PATIENCE_S = 300
"""Starting two nodes on two busy cores takes minutes."""
METRICS = ("train/loss", "train/lr", "val/loss")


class Workspace:
    """A folder with a model, training images and the callback."""

    def __init__(self, folder: Path, cluster: Cluster):
        """Writes the files."""
        self.folder, self.cluster = folder, cluster
        tiny_pipeline(folder / "model")
        tiny_images(folder / "images")
        (folder / "tracing.py").write_text(TRACE)
        (folder / "train.py").write_text((ROOT / "train.py").read_text())
        self.env = {
            **cluster.env,
            "OMP_NUM_THREADS": "1",
            "MASTER_ADDR": "127.0.0.1",  # no DNS knows node1 and node2
            "PYTHON": sys.executable,
            "PYTHONPATH": f"{folder}:{ROOT}",
            "TINV_TARGETS": "tracing",
            "HF_HUB_OFFLINE": "1",
        }

    def run_command(self, *command: str, timeout: float = 60) -> str:
        """Runs a command, and returns its output."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def sbatch(self, *options: str, settings: list[str]) -> "BatchJob":
        """Submits a run with sweep/slurm/train.sbatch."""
        script = str(ROOT / "sweep" / "slurm" / "train.sbatch")
        options = ["--parsable", "--cpus-per-task=1", "--mem=500", "--time=10", "--signal=USR2@20", *options]
        id = self.run_command("sbatch", *options, script, *SETTINGS, *settings)
        return BatchJob(self, id)


class BatchJob:
    """A job and its run folder."""

    def __init__(self, workspace: Workspace, id: str, run: Path | None = None):
        self.workspace, self.id, self.run = workspace, id, run or workspace.folder / "outputs" / "slurm" / id

    def state(self) -> str:
        """The state in squeue, which lists ended jobs for some time."""
        return self.workspace.cluster.run_command("squeue", "-h", "-t", "all", "-j", self.id, "-o", "%T", check=False)

    def steps(self, rank: int = 0) -> list[int]:
        """The recorded steps, in order."""
        return [int(line.split()[0]) for line in self._trace(rank)]

    def restarts(self) -> list[int]:
        """The number of restarts at each step."""
        return [int(line.split()[1]) for line in self._trace(0)]

    def pid(self, rank: int = 0) -> int:
        """The process that made the last step."""
        return int(self._trace(rank)[-1].split()[2])

    def until_step(self, step: int) -> None:
        """Waits until the run reaches a step."""
        until(lambda: bool(self.steps()) and self.steps()[-1] >= step, explain=self.output)

    def until_state(self, *states: str) -> str:
        """Waits until the job has one of the states."""
        until(lambda: self.state() in states, explain=self.output)
        return self.state()

    def end(self) -> None:
        """Waits until the job has completed."""
        assert self.until_state("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT") == "COMPLETED", self.output()

    def node(self) -> int:
        """The number of the job's node."""
        return int(self.workspace.cluster.run_command("squeue", "-h", "-j", self.id, "-o", "%N").removeprefix("node"))

    def output(self) -> str:
        """The job's output."""
        logs = [self.workspace.folder / f"slurm-{self.id}.txt", self.run / "log.txt"]
        return "\n".join([f"job {self.id}: {self.state()}", *(log.read_text() for log in logs if log.is_file())])

    def _trace(self, rank: int) -> list[str]:
        path = self.run / f"trace.{rank}"
        return path.read_text().splitlines() if path.is_file() else []


def until(is_so: Callable[[], Any], timeout: float = PATIENCE_S, explain: Callable[[], str] = str) -> None:
    """Waits for a condition."""
    end = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < end, explain()
        time.sleep(0.1)


def learned_vectors(run: Path) -> Tensor:
    """The vectors that a run learned."""
    return load_file(run / "learned_embeds.safetensors")["my-cat"]


def logged_metrics(run: Path) -> list[tuple[str, ...]]:
    """The metrics of a run by step, without those that a resumed session logs at its start."""
    with (run / "metrics.csv").open(newline="") as file:
        return [(row["step"], *(row[name] for name in METRICS)) for row in csv.DictReader(file)]
