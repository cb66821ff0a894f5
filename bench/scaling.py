"""Time and memory of tinv by batch size, vectors, images and processes."""

import json
from argparse import Namespace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench import commands, subjects
from bench.figures import Figure
from bench.run_process import run_process
from bench.watch import WARM_UP, Watch
from tinv.runs.text_table import align_columns

HEAD = ("", "", "step ms", "ms an image", "whole run s", "RSS MiB", "GPU MiB")
BATCHES, VECTORS, NUM_IMAGES, PROCESSES = (1, 2, 4, 8, 16, 32), (1, 4, 16, 32), (5, 50, 500), (1, 2)


def run(options: Namespace) -> list[dict[str, Any]]:
    """Vary one axis at a time, on the toybox."""
    axes: list[tuple[str, int, tuple[str, ...]]] = [
        *(("batch", n, (f"data.batch_size={n}",)) for n in BATCHES),
        *(("vectors", n, (f"embedding.num_vectors={n}",)) for n in VECTORS),
        *(("images", n, ()) for n in NUM_IMAGES),
        *(("processes", n, (f"trainer.devices={n}", *(("trainer.strategy=ddp",) if n > 1 else ()))) for n in PROCESSES),
    ]
    rows = [measure(axis, n, words, options) for axis, n, words in (axes[:2] if options.tiny else axes)]
    print(f"\nscaling: {subjects.TITLES['toybox']}")
    print(align_columns([HEAD, *map(_cells, rows)], align_right=True))
    return rows


def measure(axis: str, value: int, words: tuple[str, ...], options: Namespace) -> dict[str, Any]:
    """One run."""
    steps = WARM_UP + (2 if options.tiny else 20)
    with TemporaryDirectory() as folder:
        folder = Path(folder)
        subject = subjects.prepare("toybox", folder, tiny=options.tiny)
        if axis == "images":
            many = subjects.photographs(folder / "many", value)
            words = (*words, f"data.folder={many}")
        afresh = f"paths.cache_dir={folder / 'cache'}"  # an empty cache: encoding is part of the memory
        watch = (
            f"+callbacks.watch._target_={Watch.__module__}.Watch",
            f"+callbacks.watch.file={folder / 'watch.json'}",
        )
        overrides = (*commands.OURS, *words, afresh, *watch, *options.settings)
        usage = run_process(commands.tinv_command(f"{axis} {value}", subject, folder / "out", *overrides, steps=steps))
        seen = json.loads((folder / "watch.json").read_text())
    seconds = seen["seconds"]
    batch = value if axis == "batch" else 4 * (value if axis == "processes" else 1)
    return {
        "axis": axis,
        "value": value,
        "step_ms": Figure.of([1000 * lap for lap in seconds]).as_json(),
        "image_ms": round(1000 * median(seconds) / batch, 2),
        "run_s": round(usage.wall, 2),
        "rss_mib": usage.rss,
        "gpu_mib": (seen["peaks_mib"]["training"] or {}).get("allocated"),
    }


def _cells(row: dict[str, Any]) -> list[Any]:
    figure = Figure(**row["step_ms"])
    return [row["axis"], row["value"], figure, row["image_ms"], row["run_s"], row["rss_mib"], row["gpu_mib"] or ""]
