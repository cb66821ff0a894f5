"""Runs on a tiny model as batch jobs, slow enough to be interfered with, and what they leave behind."""

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
"""Writes down every step that is made; takes its time over it until the job has been requeued."""
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
    *["model=local", "model.pretrained=model", "data.folder=pictures", "data.val_draws=4", "trainer=cpu"],
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
"""A start of two nodes on two cores that do other things besides takes minutes."""
COUNTED = ("train/loss", "train/lr", "val/loss")


class Place:
    """A folder with a model, pictures and the callback, on a machine that has a Slurm."""

    def __init__(self, folder: Path, cluster: Cluster):
        """Fill the folder."""
        self.folder, self.cluster = folder, cluster
        tiny_pipeline(folder / "model")
        tiny_images(folder / "pictures")
        (folder / "tracing.py").write_text(TRACE)
        (folder / "train.py").write_text((ROOT / "train.py").read_text())
        self.env = {
            **cluster.env,
            "OMP_NUM_THREADS": "1",
            "MASTER_ADDR": "127.0.0.1",  # node1 and node2 are names that nobody knows
            "PYTHON": sys.executable,
            "PYTHONPATH": f"{folder}:{ROOT}",
            "TINV_TARGETS": "tracing",
            "HF_HUB_OFFLINE": "1",
        }

    def say(self, *command: str, timeout: float = 60) -> str:
        """What a command prints."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def sbatch(self, *options: str, settings: list[str]) -> "BatchJob":
        """A run through sweep/slurm/train.sbatch."""
        script = str(ROOT / "sweep" / "slurm" / "train.sbatch")
        told = ["--parsable", "--cpus-per-task=1", "--mem=500", "--time=10", "--signal=USR2@20", *options]
        id = self.say("sbatch", *told, script, *SETTINGS, *settings)
        return BatchJob(self, id)


class BatchJob:
    """A job, and the folder of its run."""

    def __init__(self, place: Place, id: str, run: Path | None = None):
        self.place, self.id, self.run = place, id, run or place.folder / "outputs" / "slurm" / id

    def state(self) -> str:
        """As squeue has it, also for a while after its end."""
        return self.place.cluster.say("squeue", "-h", "-t", "all", "-j", self.id, "-o", "%T", check=False)

    def steps(self, rank: int = 0) -> list[int]:
        """Every step that was made, in order."""
        return [int(line.split()[0]) for line in self._trace(rank)]

    def restarts(self) -> list[int]:
        """How often the job had been requeued, at each of them."""
        return [int(line.split()[1]) for line in self._trace(0)]

    def pid(self, rank: int = 0) -> int:
        """Of the process that made the last step."""
        return int(self._trace(rank)[-1].split()[2])

    def until_step(self, step: int) -> None:
        """Wait until a step has been made."""
        until(lambda: bool(self.steps()) and self.steps()[-1] >= step, explain=self.said)

    def until_state(self, *states: str) -> str:
        """Wait until Slurm says so."""
        until(lambda: self.state() in states, explain=self.said)
        return self.state()

    def end(self) -> None:
        """Wait until it has run well."""
        assert self.until_state("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT") == "COMPLETED", self.said()

    def node(self) -> int:
        """The number of the node that it runs on."""
        return int(self.place.cluster.say("squeue", "-h", "-j", self.id, "-o", "%N").removeprefix("node"))

    def said(self) -> str:
        """Its log."""
        logs = [self.place.folder / f"slurm-{self.id}.txt", self.run / "log.txt"]
        return "\n".join([f"job {self.id}: {self.state()}", *(log.read_text() for log in logs if log.is_file())])

    def _trace(self, rank: int) -> list[str]:
        path = self.run / f"trace.{rank}"
        return path.read_text().splitlines() if path.is_file() else []


def until(is_so: Callable[[], Any], timeout: float = PATIENCE_S, explain: Callable[[], str] = str) -> None:
    """Wait for something."""
    end = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < end, explain()
        time.sleep(0.1)


def learned(run: Path) -> Tensor:
    """The rows that a run ended with."""
    return load_file(run / "learned_embeds.safetensors")["my-cat"]


def numbers(run: Path) -> list[tuple[str, ...]]:
    """The rows of its metrics.csv; what a run says of itself where it begins and goes on is left out."""
    with (run / "metrics.csv").open(newline="") as file:
        return [(row["step"], *(row[name] for name in COUNTED)) for row in csv.DictReader(file)]
