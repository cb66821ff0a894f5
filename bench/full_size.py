"""What Stable Diffusion needs at full size: `python -m bench.full_size --model sdxl --memory 12gb [setting=value ...]`.

Runs twenty training steps on random weights of the published shapes. Measures the peak device memory of encoding,
sampling and training, and the time of a step. With a preset, torch gets only the memory of such a GPU.
"""

import argparse
import json
import os
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median
from typing import Any

import torch

from bench import random_pipeline
from bench.machine import machine
from bench.published import PUBLISHED, configs
from bench.watch import WARM_UP, Watch
from tinv.config.compose import Groups
from tinv.config.validate import check
from tinv.runs.files import write_json
from tinv.training.main import register
from tinv.training.run import train

RESULTS = Path(__file__).parent / "results"
MEMORY = ("none", "8gb", "12gb", "24gb")
OVERHEAD_GIB = 0.75
"""Memory of the driver, the CUDA context and a desktop, which torch cannot use."""


def main(words: list[str]) -> None:
    """Measure, print, and save the figures in `bench/results`."""
    arguments = parse(words)
    if not arguments.tiny and not torch.cuda.is_available():
        sys.exit("Full size needs a CUDA device. --tiny runs the benchmark with a few thousand weights on any device.")
    figures = measure(
        arguments.model,
        memory=arguments.memory,
        steps=arguments.steps,
        tiny=arguments.tiny,
        overrides=arguments.overrides,
    )
    print(json.dumps(figures, indent=2))
    if not arguments.tiny:
        write_json(RESULTS / f"full_size-{arguments.model}-{arguments.memory}.json", figures)


def parse(words: list[str]) -> argparse.Namespace:
    """The parsed arguments."""
    parser = argparse.ArgumentParser(prog="python -m bench.full_size", description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=PUBLISHED, required=True)
    parser.add_argument("--memory", choices=MEMORY, default="none", help="a preset of conf/memory")
    parser.add_argument("--steps", type=int, default=20, help=f"of which the first {WARM_UP} are not timed")
    parser.add_argument("--tiny", action="store_true", help="a few thousand weights; nothing is saved")
    parser.add_argument("overrides", nargs="*", metavar="setting=value", help="as for train.py")
    return parser.parse_args(words)


def measure(name: str, *, memory: str, steps: int, tiny: bool, overrides: list[str]) -> dict[str, Any]:
    """The figures of one run."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    register()
    os.environ["TINV_TARGETS"] = "bench"
    with tempfile.TemporaryDirectory() as folder:
        cfg = check(Groups().compose(settings(Path(folder), memory, steps, overrides), output_dir=folder))
        dtype = getattr(torch, cfg.model.dtype)
        random_pipeline.write(configs(name, small=tiny), Path(folder) / "model", dtype=dtype, device=device)
        if device == "cuda":
            _shrink_card(memory)
        watched = _run(cfg, Path(folder) / "watch.json")
    return {
        "machine": machine(),
        "model": name,
        "memory": memory,
        "overrides": overrides,
        "steps": steps - WARM_UP,
        "dtype": cfg.model.dtype,
        "precision": cfg.trainer.precision,
        "attention": cfg.model.attention,
        "gradient_checkpointing": cfg.model.gradient_checkpointing,
        "batch_size": cfg.data.batch_size,
        "accumulate_grad_batches": cfg.trainer.accumulate_grad_batches,
        **watched,
    }


def settings(folder: Path, memory: str, steps: int, overrides: list[str]) -> list[str]:
    """The overrides of the run: four samples before training and four after it."""
    return [
        "+experiment=cat_toy",
        "model=local",
        f"model.pretrained={folder / 'model'}",
        "data=toybox_cat_toy",
        *(["data.batch_size=4"] if memory == "none" else [f"memory={memory}"]),
        f"trainer.max_steps={steps}",
        "trainer.accelerator=auto",
        "+trainer.limit_val_batches=0",
        "+trainer.enable_progress_bar=false",
        "callbacks=samples",
        'callbacks.samples.prompts=["a {}"]',
        "callbacks.samples.num_inference_steps=4",
        "callbacks.samples.every_n_steps=null",
        f"+callbacks.watch._target_={Watch.__module__}.Watch",
        f"+callbacks.watch.file={folder / 'watch.json'}",
        "logger=none",
        "monitor=null",
        *overrides,
    ]


def _run(cfg: Any, file: Path) -> dict[str, Any]:
    try:
        with redirect_stdout(sys.stderr):  # the output of the run
            train(cfg)
    except torch.cuda.OutOfMemoryError as error:
        return {"fits": False, "reason": str(error).partition(". ")[0]}
    watched = json.loads(file.read_text())
    seconds = watched["seconds"]
    return {
        "fits": True,
        "peaks_mib": watched["peaks_mib"],
        "seconds_median": round(median(seconds), 4),
        "seconds_least": round(min(seconds), 4),
    }


def _shrink_card(memory: str) -> None:
    """Limit torch to the memory of a smaller GPU."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    if memory != "none":
        gib = int(memory.removesuffix("gb")) - OVERHEAD_GIB
        torch.cuda.set_per_process_memory_fraction(min(1.0, gib * 2**30 / torch.cuda.mem_get_info()[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
