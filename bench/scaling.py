"""How time and memory grow with the batch, the vectors, the pictures and the processes; tinv alone."""

import json
from argparse import Namespace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench import commands, subjects
from bench.figures import Figure
from bench.watch import WARM_UP, Watch
from bench.whole import whole
from tinv.runs.text_table import align_columns

HEAD = ("", "", "step ms", "ms a picture", "whole run s", "RSS MiB", "GPU MiB")
BATCHES, VECTORS, PICTURES, PROCESSES = (1, 2, 4, 8, 16, 32), (1, 4, 16, 32), (5, 50, 500), (1, 2)


def run(options: Namespace) -> list[dict[str, Any]]:
    """Every axis by itself, on the toybox."""
    axes: list[tuple[str, int, tuple[str, ...]]] = [
        *(("batch", n, (f"data.batch_size={n}",)) for n in BATCHES),
        *(("vectors", n, (f"embedding.num_vectors={n}",)) for n in VECTORS),
        *(("pictures", n, ()) for n in PICTURES),
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
        place = Path(folder)
        subject = subjects.prepare("toybox", place, tiny=options.tiny)
        if axis == "pictures":
            many = subjects.photographs(place / "many", value)
            words = (*words, f"data.folder={many}")
        afresh = f"paths.cache_dir={place / 'cache'}"  # or what was encoded once takes no memory
        watch = (f"+callbacks.watch._target_={Watch.__module__}.Watch", f"+callbacks.watch.file={place / 'watch.json'}")
        asked = (*commands.OURS, *words, afresh, *watch, *options.settings)
        taken = whole(commands.ours(f"{axis} {value}", subject, place / "out", *asked, steps=steps))
        seen = json.loads((place / "watch.json").read_text())
    seconds = seen["seconds"]
    batch = value if axis == "batch" else 4 * (value if axis == "processes" else 1)
    return {
        "axis": axis,
        "value": value,
        "step_ms": Figure.of([1000 * lap for lap in seconds]).as_json(),
        "picture_ms": round(1000 * median(seconds) / batch, 2),
        "run_s": round(taken.wall, 2),
        "rss_mib": taken.rss,
        "gpu_mib": (seen["peaks_mib"]["training"] or {}).get("allocated"),
    }


def _cells(row: dict[str, Any]) -> list[Any]:
    figure = Figure(**row["step_ms"])
    return [row["axis"], row["value"], figure, row["picture_ms"], row["run_s"], row["rss_mib"], row["gpu_mib"] or ""]
