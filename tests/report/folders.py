"""Writes folders of sweeps and runs with made-up metrics and images."""

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tinv.runs.files import write_json, write_text
from tinv.runs.image_grid import draw_grid, save_grid
from tinv.runs.layout import samples_path
from tinv.runs.record_status import write_status
from tinv.runs.status import Status
from tinv.sweeps.plan_file import write_plan
from tinv.sweeps.points import SweepPoint
from tinv.sweeps.results import SweepResults
from tinv.training.loggers.csv_logger import CSVLogger

PROMPTS = ["a photo of a {}", "a {} on the beach"]
SEEDS = ["seed 0", "seed 1"]


def make_image(seed: int, side: int = 64, noise: bool = False) -> Image.Image:
    """Returns a disc on a plain background, or noise, which does not compress."""
    if noise:
        return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8))
    y, x = np.mgrid[:side, :side] / side - 0.5
    colors = [np.array(colorsys.hsv_to_rgb((seed * 0.13 + turn) % 1, 0.5, 0.9)) * 255 for turn in (0, 0.4)]
    disc = (np.hypot(x, y) < 0.3)[..., None]
    return Image.fromarray(np.where(disc, *colors).astype(np.uint8))


def write_samples(
    run: Path, steps: Sequence[int], *, prompts: Any = PROMPTS, seeds: Any = SEEDS, token: str = "<cat>", **look: Any
) -> None:
    (run / "samples").mkdir(parents=True, exist_ok=True)
    rows = [prompt.replace("{}", token) for prompt in prompts]
    for step in steps:
        first = step + len(run.name) + int(run.name) * 100 if run.name.isdecimal() else step
        images = [make_image(first + i, **look) for i in range(len(rows) * len(seeds))]
        save_grid(draw_grid(images, rows=rows, columns=seeds), samples_path(run, step))


def write_run(
    run: Path, *, losses: Any = (0.3, 0.2, 0.15), token: str = "<cat>", status: Any = None, **card: Any
) -> None:
    """Writes all files of a run except samples and embedding."""
    run.mkdir(parents=True, exist_ok=True)
    numbers = CSVLogger(run)
    for i, loss in enumerate(losses):
        numbers.log_metrics({"val/loss": loss, "train/loss": loss * 1.5, "train/lr": 1e-3}, step=i * 10)
        numbers.log_metrics({"embedding/norm": 0.4 + i, "embedding/norm_percentile": 50.0 + i}, step=i * 10)
    numbers.flush()
    concept = {"placeholder_token": token, "initializer_token": "toy", "kind": "object", "num_vectors": {"clip_l": 2}}
    card_values = {
        "concept": concept,
        "max_steps": (len(losses) - 1) * 10,
        "command": "train.py +experiment=cat_toy",
        "result": {"embedding_stats": {"nearest": {token: ["cat", "toy"]}}},
        "git": {"commit": "0123456789abcdef", "dirty": True},
    }
    write_json(run / "run.json", {**card_values, **card})
    write_status(run, status or Status("done", value=losses[-1], seconds=12.0))
    write_text(run / ".hydra" / "config.yaml", "seed: 0\n")
    write_text(run / ".hydra" / "overrides.yaml", "- +experiment=cat_toy\n")


def write_sweep(folder: Path, swept: Sequence[Mapping[str, str]], statuses: Mapping[int, Status] | None = None) -> Path:
    """Writes a sweep whose points have statuses, but no run folders yet."""
    folder.mkdir(parents=True, exist_ok=True)
    points = [SweepPoint(number, (), values) for number, values in enumerate(swept)]
    command, settings = ["+experiment=cat_toy", "optimizer.lr=1,2"], {"monitor": "val/loss", "seed": 0}
    plan = [(point, {}) for point in points]
    write_plan(folder, id="1", command=command, config_dir=None, settings=settings, points=plan)
    results = SweepResults(folder, monitor="val/loss")
    results.add(points)
    for number, status in (statuses or {}).items():
        results.record(points[number], status)
    return folder
