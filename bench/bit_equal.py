"""Shows that a refactor changes no number: `python -m bench.bit_equal record FILE`, then `... compare FILE`.

Runs 12 steps of each kind of training, and records every number of `metrics.csv` and the SHA-256 of every learned
tensor. The recorded file is valid on one machine only, because the last bits depend on the processor.
"""

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from bench import random_pipeline
from bench.published import configs

ROOT = Path(__file__).resolve().parent.parent
STEPS = 12
COMMON = (
    f"trainer.max_steps={STEPS}",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
    "trainer.val_check_interval=4",
    "data.val_draws=4",
    "callbacks.samples.num_inference_steps=2",
    "callbacks.samples.seeds=[0]",
    "callbacks.checkpoints.every_n_steps=6",
)
CAT_TOY = "+experiment=cat_toy"
DDP = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true", *COMMON)
RUNS: dict[str, tuple[str, ...]] = {
    "cat_toy": (CAT_TOY,),
    "sepia": ("+experiment=sepia",),
    "two_toys": ("+experiment=two_toys",),
    "per_timestep": (CAT_TOY, "embedding=per_timestep"),
    "per_layer": (CAT_TOY, "embedding=per_layer"),
    "negative": (CAT_TOY, "embedding=negative"),
    "averaged": (CAT_TOY, "embedding.ema=0.9", "regularizer=context", "trainer.accumulate_grad_batches=2"),
    "sdxl": (CAT_TOY, "model=local", "model.pretrained={sdxl}", "data.resolution=64", "data.flip=true"),
    "ddp": (CAT_TOY, *DDP),
}
RESUMED = "cat_toy"
TIMINGS = ("seconds", "per_s", "time", "peak", "memory")
"""Parts of the names of columns that differ from run to run."""


def main(argv: list[str]) -> None:
    """Record the runs, or compare them with a record; exits with 1 if any number differs."""
    parser = argparse.ArgumentParser(prog="python -m bench.bit_equal", description=__doc__.partition("\n")[0])
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", nargs="+", choices=[*RUNS, "resume"], default=[*RUNS, "resume"])
    arguments = parser.parse_args(argv)
    results = run_all(arguments.only)
    if arguments.action == "record":
        arguments.file.write_text(json.dumps(results, indent=1), encoding="utf-8")
        return
    recorded = json.loads(arguments.file.read_text(encoding="utf-8"))
    differences = [line for name in results for line in compare(name, recorded[name], results[name])]
    print("\n".join(differences) or f"equal to the last bit: {', '.join(results)}")
    sys.exit(bool(differences))


def run_all(names: list[str]) -> dict[str, dict[str, Any]]:
    """The metrics and tensor hashes of each run, by its name."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        sdxl = Path(folder) / "sdxl"
        torch.manual_seed(0)
        random_pipeline.write(configs("sdxl", small=True), sdxl, dtype=torch.float32, device="cpu")
        for name in names:
            print(name, file=sys.stderr, flush=True)
            output_dir = Path(folder) / name
            if name == "resume":
                settings = [*COMMON, *RUNS[RESUMED]]
                train(output_dir, *settings, f"trainer.max_steps={STEPS // 2}", "scheduler.num_training_steps=12")
                train(output_dir, *settings, f"resume={output_dir}")
            else:
                train(output_dir, *COMMON, *(override.format(sdxl=sdxl) for override in RUNS[name]))
            results[name] = {"metrics": read_metrics(output_dir), "tensors": hash_tensors(output_dir)}
    return results


def train(output_dir: Path, *overrides: str) -> None:
    """Run `train.py` with one thread, so that sums have one order."""
    command = [sys.executable, str(ROOT / "train.py"), *overrides, f"hydra.run.dir={output_dir}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def read_metrics(run: Path) -> dict[str, dict[str, str]]:
    """Every number that does not measure time or memory, by step and column."""
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = {row.pop("step"): row for row in csv.DictReader(file)}
    return {
        step: {name: text for name, text in row.items() if text and not any(part in name for part in TIMINGS)}
        for step, row in rows.items()
    }


def hash_tensors(run: Path) -> dict[str, str]:
    """The SHA-256 of each tensor in the files of the learned embeddings."""
    return {
        f"{path.relative_to(run)}:{key}": hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
        for path in sorted(run.rglob("*learned_embeds*.safetensors"))
        for key, tensor in sorted(load_file(path).items())
    }


def compare(name: str, recorded: dict[str, Any], result: dict[str, Any]) -> list[str]:
    """One line for each number or tensor that differs."""
    lines = [
        f"{name}: tensor {key}: {recorded['tensors'].get(key)} -> {result['tensors'].get(key)}"
        for key in sorted(recorded["tensors"] | result["tensors"])
        if recorded["tensors"].get(key) != result["tensors"].get(key)
    ]
    for step in sorted(recorded["metrics"] | result["metrics"], key=int):
        before, after = recorded["metrics"].get(step, {}), result["metrics"].get(step, {})
        lines += [
            f"{name}: step {step}: {column}: {before.get(column)} -> {after.get(column)}"
            for column in sorted(before | after)
            if before.get(column) != after.get(column)
        ]
    return lines


if __name__ == "__main__":
    main(sys.argv[1:])
