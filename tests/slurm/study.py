"""A study of twelve points on the toybox in a Slurm that preempts two jobs and loses a node.

Afterwards metrics.csv and W&B's files (offline) must have every step of every point exactly once.

python -m tests.slurm.study FOLDER      keeps the sweep in FOLDER/outputs and prints the numbers
"""

import csv
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.slurm.cluster import Cluster
from tests.slurm.jobs import ROOT
from tests.training.loggers.reading import read_sessions
from tinv.sweeps.progress_table import RunProgress, format_progress, read_progress

STEPS = 60
COMMAND = [
    *["-m", "+experiment=cat_toy", "embedding.num_vectors=1,2,4", "optimizer.lr=1e-3,5e-3", "seed=0,1"],
    *[f"trainer.max_steps={STEPS}", "trainer.val_check_interval=20", "trainer.log_every_n_steps=1", "trainer=cpu"],
    *["data.val_draws=16", "callbacks.samples.every_n_steps=null", "callbacks.samples.seeds=[0,1]"],
    *[
        "callbacks.samples.num_inference_steps=8",
        "callbacks.checkpoints.every_n_steps=10",
        "callbacks.progress_file.every_s=1",
    ],
    *["logger=wandb", "logger.wandb.mode=offline"],
    *["hydra/launcher=slurm", "hydra.launcher.partition=low", "hydra.launcher.cpus_per_task=2"],
    *["hydra.launcher.mem_gb=3", "hydra.launcher.timeout_min=60", "hydra.launcher.poll_s=2"],
]
PREEMPTIONS = 2


def main(folder: Path) -> None:
    """Runs the study."""
    with Cluster(folder / "slurm") as cluster:
        began = time.monotonic()
        env = {**cluster.env, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(ROOT / "train.py"), *COMMAND, f"paths.root_dir={folder / 'outputs'}"]
        run = subprocess.Popen(command, cwd=ROOT, env=env)
        try:
            sweep = _interfere(cluster, folder / "outputs" / "cat_toy", run)
            code = run.wait(timeout=7200)
        finally:
            run.kill()
    seconds = time.monotonic() - began
    check(sweep)
    print(f"exit code {code} after {seconds:.0f} s")


def check(sweep: Path) -> None:
    """Checks that no step was lost or logged twice."""
    runs = read_progress(sweep)
    print(format_progress(runs))
    for run in runs:
        assert run.status.status == "done", run
        with (sweep / run.name / "metrics.csv").open(newline="") as file:
            steps = [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]
        assert steps == list(range(STEPS)), f"point {run.name}: {steps}"
        wandb_sessions = read_sessions(sweep / run.name)
        assert len({session.run.run_id for session in wandb_sessions if session.run}) == 1, (
            f"point {run.name}: {wandb_sessions}"
        )
        logged = [step for session in wandb_sessions for step in session.order]
        assert logged == list(range(STEPS + 1)), f"point {run.name}, W&B: {logged}"
    restarts = sum(run.status.restarts for run in runs)
    print(f"{restarts} restarts; every point has {STEPS} losses, each once, also in its single W&B run; see {sweep}")


def _interfere(cluster: Cluster, outputs: Path, run: "subprocess.Popen[bytes]") -> Path:
    """Submits two jobs with higher priority and powers off a node, each while a point is in the middle."""
    until = _Until(run)
    until(lambda: list(outputs.glob("*/plan.json")))
    (sweep,) = [path.parent for path in outputs.glob("*/plan.json")]
    disturbed: set[str] = set()

    def in_the_middle() -> RunProgress | None:
        points = [point for point in read_progress(sweep) if point.status.status == "running" and point.progress]
        middle = (p for p in points if p.name not in disturbed and p.progress and 12 <= p.progress.step < STEPS - 10)
        return next(middle, None)

    for turn in range(PREEMPTIONS + 1):
        until(in_the_middle)
        point = in_the_middle()
        assert point is not None and point.status.job is not None and point.progress is not None
        disturbed.add(point.name)
        node = cluster.run_command("squeue", "-h", "-j", point.status.job, "-o", "%N")
        where = f"point {point.name} on {node} at step {point.progress.step}"
        if turn < PREEMPTIONS:
            options = ["--partition=high", "--exclusive", f"--nodelist={node}", "--output=/dev/null", "--wrap=sleep 2"]
            cluster.run_command("sbatch", *options)
            print(f"a job with higher priority preempts {where}", flush=True)
        else:
            cluster.power_off(int(node.removeprefix("node")))
            time.sleep(5)
            cluster.power_on(int(node.removeprefix("node")))
            print(f"the node was lost under {where}", flush=True)
    return sweep


class _Until:
    """Waits for a condition as long as the sweep runs."""

    def __init__(self, run: "subprocess.Popen[bytes]"):
        self.run = run

    def __call__(self, is_so: Callable[[], object]) -> None:
        while not is_so():
            assert self.run.poll() is None, "the sweep has ended"
            time.sleep(0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
