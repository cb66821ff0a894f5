"""What Stable Diffusion needs at full size: `python -m bench.full_size --model sdxl --memory 12gb [setting=value ...]`.

Twenty steps of the loop that users run, on random weights of the published shapes: the peak of the device's memory
while encoding, sampling and training, and the seconds of a step. With a preset torch gets no more than such a card
has, so that what does not fit fails here too.
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
"""What the driver, CUDA's context and a desktop take of a card before torch gets any."""


def main(words: list[str]) -> None:
    """Measure, print, and keep the figures under `bench/results`."""
    arguments = parse(words)
    if not arguments.tiny and not torch.cuda.is_available():
        sys.exit("full size needs a CUDA device; --tiny tries the benchmark itself on anything")
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
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.full_size", description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=PUBLISHED, required=True)
    parser.add_argument("--memory", choices=MEMORY, default="none", help="a preset of conf/memory")
    parser.add_argument("--steps", type=int, default=20, help=f"of which the first {WARM_UP} are not timed")
    parser.add_argument("--tiny", action="store_true", help="a few thousand weights; nothing is kept")
    parser.add_argument("overrides", nargs="*", metavar="setting=value", help="as for train.py")
    return parser.parse_args(words)


def measure(name: str, *, memory: str, steps: int, tiny: bool, overrides: list[str]) -> dict[str, Any]:
    """The figures of one run."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    register()
    os.environ["TINV_TARGETS"] = "bench"
    with tempfile.TemporaryDirectory() as place:
        cfg = check(Groups().compose(settings(Path(place), memory, steps, overrides), output_dir=place))
        dtype = getattr(torch, cfg.model.dtype)
        random_pipeline.write(configs(name, small=tiny), Path(place) / "model", dtype=dtype, device=device)
        if device == "cuda":
            _shrink_card(memory)
        seen = _run(cfg, Path(place) / "watch.json")
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
        **seen,
    }


def settings(place: Path, memory: str, steps: int, overrides: list[str]) -> list[str]:
    """The command line of the run: one sheet of four samples before it and one after it."""
    return [
        "+experiment=cat_toy",
        "model=local",
        f"model.pretrained={place / 'model'}",
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
        f"+callbacks.watch.file={place / 'watch.json'}",
        "logger=none",
        "monitor=null",
        *overrides,
    ]


def _run(cfg: Any, file: Path) -> dict[str, Any]:
    try:
        with redirect_stdout(sys.stderr):  # what a run says to its user
            train(cfg)
    except torch.cuda.OutOfMemoryError as error:
        return {"fits": False, "reason": str(error).partition(". ")[0]}
    seen = json.loads(file.read_text())
    seconds = seen["seconds"]
    return {
        "fits": True,
        "peaks_mib": seen["peaks_mib"],
        "seconds_median": round(median(seconds), 4),
        "seconds_least": round(min(seconds), 4),
    }


def _shrink_card(memory: str) -> None:
    """Let torch have no more of this card than a smaller one would give it."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    if memory != "none":
        gib = int(memory.removesuffix("gb")) - OVERHEAD_GIB
        torch.cuda.set_per_process_memory_fraction(min(1.0, gib * 2**30 / torch.cuda.mem_get_info()[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
