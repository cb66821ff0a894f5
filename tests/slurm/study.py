"""A study of twelve points on the toybox through a Slurm that takes two places away and loses a node on the way.

Afterwards metrics.csv and W&B's own files (offline) must have every step of every point once.

python -m tests.slurm.study FOLDER      the sweep stays in FOLDER/outputs, the figures are printed
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
PRE_EMPTIONS = 2


def main(folder: Path) -> None:
    """Run it."""
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
    """Nothing was lost, and nothing is there twice."""
    found = read_progress(sweep)
    print(format_progress(found))
    for one in found:
        assert one.status.status == "done", one
        with (sweep / one.name / "metrics.csv").open(newline="") as file:
            steps = [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]
        assert steps == list(range(STEPS)), f"point {one.name}: {steps}"
        kept = read_sessions(sweep / one.name)
        assert len({session.run.run_id for session in kept if session.run}) == 1, f"point {one.name}: {kept}"
        logged = [step for session in kept for step in session.order]
        assert logged == list(range(STEPS + 1)), f"point {one.name}, W&B: {logged}"
    restarts = sum(one.status.restarts for one in found)
    print(f"{restarts} restarts; every point has {STEPS} losses, each once, also in its one run of W&B; see {sweep}")


def _interfere(cluster: Cluster, place: Path, run: "subprocess.Popen[bytes]") -> Path:
    """Two jobs of a better partition, and a node without power, each while a point is in the middle."""
    until = _Until(run)
    until(lambda: list(place.glob("*/plan.json")))
    (sweep,) = [path.parent for path in place.glob("*/plan.json")]
    disturbed: set[str] = set()

    def in_the_middle() -> RunProgress | None:
        running = (one for one in read_progress(sweep) if one.status.status == "running" and one.name not in disturbed)
        return next((one for one in running if 12 <= one.progress.get("step", 0) < STEPS - 10), None)

    for turn in range(PRE_EMPTIONS + 1):
        until(in_the_middle)
        point = in_the_middle()
        assert point is not None and point.status.job is not None
        disturbed.add(point.name)
        node = cluster.say("squeue", "-h", "-j", point.status.job, "-o", "%N")
        where = f"point {point.name} on {node} at step {point.progress['step']}"
        if turn < PRE_EMPTIONS:
            options = ["--partition=high", "--exclusive", f"--nodelist={node}", "--output=/dev/null", "--wrap=sleep 2"]
            cluster.say("sbatch", *options)
            print(f"a better job takes the place of {where}", flush=True)
        else:
            cluster.lose(int(node.removeprefix("node")))
            time.sleep(5)
            cluster.bring_back(int(node.removeprefix("node")))
            print(f"the node was lost under {where}", flush=True)
    return sweep


class _Until:
    """Waits for something, as long as the sweep goes on."""

    def __init__(self, run: "subprocess.Popen[bytes]"):
        self.run = run

    def __call__(self, is_so: Callable[[], object]) -> None:
        while not is_so():
            assert self.run.poll() is None, "the sweep has ended"
            time.sleep(0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
