"""How long a training step takes: the whole loop that users run, without samples, files and validation."""

import json
import os
import tempfile
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any

from lightning.pytorch import Callback

from bench.machine import machine
from tinv.config import check
from tinv.files import write_json
from tinv.front import register
from tinv.groups import Groups
from tinv.run import train

STEPS = 25
WARM_UP = 5
CASES = [  # each on top of +experiment=cat_toy
    {"data.batch_size": 1},
    {"data.batch_size": 4},
    {"data.batch_size": 8},
    {"data.batch_size": 8, "embedding.num_vectors": 4},
    {"data.batch_size": 8, "trainer.accumulate_grad_batches": 2},
]
RESULTS = Path(__file__).parent / "results"


class StepTimer(Callback):
    """Writes the seconds of every optimizer step."""

    def __init__(self, file: str) -> None:
        """Args:
        file: a JSON list is written there when the run ends.
        """
        self.file, self.seconds, self.last, self.step = Path(file), [], 0.0, 0

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Note the time whenever the optimizer has stepped."""
        if trainer.global_step > self.step:
            now, self.step = time.perf_counter(), trainer.global_step
            self.seconds.append(now - self.last)
            self.last = now

    def on_train_end(self, *_: Any) -> None:
        """Keep all but the first steps, which warm up."""
        self.file.write_text(json.dumps(self.seconds[WARM_UP:]))


def run(overrides: list[str]) -> None:
    """Measure every case, print the table, write `results/step.json`."""
    rows = [measure(case, overrides) for case in CASES]
    print(f"\n{'batch':>6} {'vectors':>8} {'accumulate':>11} {'s/step':>8} {'fastest':>8} {'pictures/s':>11}")
    for row in rows:
        print(
            f"{row['batch_size']:>6} {row['num_vectors']:>8} {row['accumulate_grad_batches']:>11} "
            f"{row['seconds_median']:>8.3f} {row['seconds_least']:>8.3f} {row['pictures_per_second']:>11.1f}"
        )
    write_json(
        RESULTS / "step.json", {"machine": machine(), "steps": STEPS - WARM_UP, "settings": overrides, "rows": rows}
    )
    print(f"\nkept in {os.path.relpath(RESULTS / 'step.json')}")


def measure(case: dict[str, int], overrides: list[str]) -> dict[str, float | int]:
    """The seconds of a step in one case."""
    register()
    os.environ["TINV_TRUST"] = "bench"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "seconds.json"
        command = [
            "+experiment=cat_toy",
            "callbacks=none",
            "logger=none",
            "monitor=null",
            f"trainer.max_steps={STEPS}",
            "+trainer.limit_val_batches=0",
            "+trainer.enable_progress_bar=false",
            f"+callbacks.timer._target_={__name__}.StepTimer",
            f"+callbacks.timer.file={file}",
            *(f"{key}={value}" for key, value in case.items()),
            *overrides,
        ]
        cfg = check(Groups().compose(command, output_dir=folder))
        with redirect_stdout(StringIO()):  # what a run says to its user
            train(cfg)
        seconds = json.loads(file.read_text())
    pictures = cfg.data.batch_size * cfg.trainer.accumulate_grad_batches
    return {
        "batch_size": cfg.data.batch_size,
        "num_vectors": cfg.embedding.num_vectors,
        "accumulate_grad_batches": cfg.trainer.accumulate_grad_batches,
        "seconds_median": round(median(seconds), 4),
        "seconds_least": round(min(seconds), 4),
        "pictures_per_second": round(pictures / median(seconds), 2),
    }
