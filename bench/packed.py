"""A sweep of packed lanes against the same points one after the other, and against two processes at once."""

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from bench import commands, subjects
from bench.runner import ROOT
from tinv.runs.files import write_json
from tinv.runs.text_table import align_columns

HEAD = ("", "batch", "lanes", "wall s", "CPU s", "wall ratio", "CPU ratio", "RSS MiB")
BATCHES = {"1": (1, 1), "1x4": (1, 4), "4": (4, 1), "8": (8, 1)}
"""`data.batch_size` and `trainer.accumulate_grad_batches`."""
ALONE = "one after the other"
POLL_S = 0.2


def run(options: Namespace) -> dict[str, Any]:
    """The toybox and the hundredth; rows that `--resume FILE` contains are not measured again."""
    results = {}
    for name in options.subject or ("toybox", "hundredth"):
        print(f"\npacked: {subjects.TITLES[name]}, {options.points} points of {options.steps[0]} steps")
        with TemporaryDirectory() as folder:
            subject = subjects.prepare(name, Path(folder), tiny=options.tiny)
            results[name] = measure_all(subject, Path(folder), options)
        print(align_columns([HEAD, *(_cells(row, results[name]) for row in results[name])], align_right=True))
    return results


def measure_all(subject: subjects.Subject, folder: Path, options: Namespace) -> list[dict[str, Any]]:
    """A row for each way of running the sweep and each batch, then one for each number of lanes."""
    ways = {ALONE: (), "two processes": ("hydra/launcher=gpus", "hydra.launcher.n_jobs=2")}
    cases = [
        (way, batch, 1 if way == ALONE else 2, words)
        for batch in options.batches
        for way, words in ways.items()
        if way == ALONE or not commands.has_gpu()
    ]
    for batch in options.batches:
        lanes = options.lanes if batch == options.batches[0] else options.lanes[-1:]
        cases += [("packed", batch, n, ("hydra/launcher=packed", f"hydra.launcher.lanes={n}")) for n in lanes]
    measured = _read(options.resume)
    rows = []
    for way, batch, lanes, words in cases:
        case = {"subject": subject.name, "way": way, "batch": batch, "lanes": lanes, "points": options.points}
        case["steps"] = options.steps[0]
        row = next((row for row in measured if case.items() <= row.items()), None)
        if row is None:
            row = {**case, **measure(subject, folder, batch, words, options)}
            measured.append(row)
            if options.resume:
                write_json(options.resume, measured)
        rows.append(row)
    return rows


def measure(
    subject: subjects.Subject, folder: Path, batch: str, words: tuple[str, ...], options: Namespace
) -> dict[str, float]:
    """Seconds by the clock and of the processor of a whole sweep, start-up included, and its peak memory in MiB."""
    size, accumulate = BATCHES[batch]
    rates = ",".join(f"{1e-3 * (1 + i / options.points):.6f}" for i in range(options.points))
    settings = commands.settings(
        subject,
        folder / "out",
        (
            f"data.batch_size={size}",
            f"trainer.accumulate_grad_batches={accumulate}",
            f"optimizer.lr={rates}",
            f"paths.cache_dir={folder / 'cache'}",
            *words,
            *options.settings,
        ),
        steps=options.steps[0],
    )
    with tempfile.TemporaryFile() as output:
        start, peak = time.perf_counter(), 0.0
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), "-m", *settings],
            cwd=ROOT,
            env={**os.environ, "TINV_TARGETS": "bench"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            peak = max(peak, memory_of_tree(process.pid))
            time.sleep(POLL_S)
        wall, usage = time.perf_counter() - start, ended[2]
        process.returncode = os.waitstatus_to_exitcode(ended[1])
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"the sweep failed:\n{output.read().decode(errors='replace')[-3000:]}")
    return {
        "wall_s": round(wall, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "rss_mib": round(peak / 2**20),
    }


def memory_of_tree(pid: int) -> int:
    """Bytes of memory of a process and of what it started."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.Error:
        pass  # it has just ended
    return total


def _read(path: Path | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path and path.is_file() else []
    return rows


def _cells(row: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[Any, ...]:
    alone = next(other for other in rows if other["way"] == ALONE and other["batch"] == row["batch"])
    ratios = [f"{alone[name] / row[name]:.2f}" for name in ("wall_s", "cpu_s")]
    return row["way"], row["batch"], row["lanes"], row["wall_s"], row["cpu_s"], *ratios, row["rss_mib"]
