"""metrics.csv is complete whenever it is read, and a resumed run continues it."""

import csv
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tiny import tiny_model
from tests.training.callbacks.fitting import Interrupt, fit
from tinv.training.callbacks import Checkpoints, EmbeddingStats
from tinv.training.loggers.csv_logger import CSVLogger


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_step_is_one_row_and_a_metric_one_column(tmp_path):
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"train/loss": 0.5, "epoch": 0}, step=0)
    logger.log_metrics({"val/loss": 0.25}, step=10)
    logger.log_metrics({"train/loss": 1 / 3}, step=10)
    logger.finalize("success")
    assert table(tmp_path) == [
        {"step": "0", "train/loss": "0.5", "val/loss": ""},
        {"step": "10", "train/loss": repr(1 / 3), "val/loss": "0.25"},
    ]


def test_a_resumed_run_keeps_the_rows_up_to_its_step(tmp_path):
    old = CSVLogger(tmp_path)
    for step in (0, 10, 20, 30):
        old.log_metrics({"train/loss": float(step)}, step=step)
    old.flush()
    new = CSVLogger(tmp_path)
    new.rewind(20)
    new.log_metrics({"samples/black": 0}, step=20)
    new.log_metrics({"train/loss": 25.0}, step=25)
    new.finalize("success")
    assert [row["step"] for row in table(tmp_path)] == ["0", "10", "20", "25"]
    assert [row["train/loss"] for row in table(tmp_path)] == ["0.0", "10.0", "20.0", "25.0"]
    assert [row["samples/black"] for row in table(tmp_path)] == ["", "", "0", ""]


def test_the_file_is_written_at_intervals(tmp_path):
    slow = CSVLogger(tmp_path / "slow", flush_every_s=60)
    fast = CSVLogger(tmp_path / "fast", flush_every_s=0)
    for logger in (slow, fast):
        logger.log_metrics({"train/loss": 1.0}, step=1)
        logger.save()
    assert (slow.path.exists(), fast.path.exists()) == (False, True)


def test_a_killed_run_leaves_a_complete_table(tmp_path):
    script = f"""
from tinv.training.loggers.csv_logger import CSVLogger
logger = CSVLogger({str(tmp_path)!r}, flush_every_s=0)
for step in range(20_000):
    logger.log_metrics({{"train/loss": 1.0, f"column/{{step % 50}}": 2.0}}, step=step)
    logger.save()
"""
    with subprocess.Popen([sys.executable, "-c", script]) as run:
        try:
            while not (tmp_path / "metrics.csv").is_file():
                assert run.poll() is None
                time.sleep(0.01)
            time.sleep(0.2)
        finally:
            run.kill()
    rows = table(tmp_path)
    assert [int(row["step"]) for row in rows] == list(range(len(rows)))
    assert all(row["train/loss"] == "1.0" and None not in row.values() for row in rows)
    assert {path.name for path in tmp_path.iterdir() if path.suffix == ".csv"} == {"metrics.csv"}


@pytest.mark.parametrize("crash", [3, 5])
def test_a_crashed_and_resumed_run_has_the_table_of_an_uninterrupted_one(tmp_path, tmp_path_factory, crash):
    model = tiny_model(tmp_path_factory.mktemp("model"))

    def run(folder: Path, *, crash: int | None = None, resume: Path | None = None) -> None:
        callbacks = [EmbeddingStats(every_n_steps=3), Checkpoints(folder, every_n_steps=3)]
        callbacks += [Interrupt(crash, RuntimeError())] if crash else []
        fit(folder, model, callbacks, max_steps=8, resume=resume, loggers=[CSVLogger(folder, flush_every_s=0)])

    run(tmp_path / "uninterrupted")
    with pytest.raises(RuntimeError):
        run(tmp_path / "resumed", crash=crash)
    run(tmp_path / "resumed", resume=tmp_path / "resumed/checkpoints/step_000003.ckpt")
    assert table(tmp_path / "resumed") == table(tmp_path / "uninterrupted")
    assert [row["step"] for row in table(tmp_path / "resumed")] == [str(step) for step in range(9)]
