"""diffusers' own training script and tinv, on the same model, images, captions, timesteps and noise.

    python -m bench.against_reference --reference path/to/textual_inversion.py [--model FOLDER] [--images FOLDER]
                                      [the script's flags ...]

Runs the script unchanged in its own process and records its tensors. Then translates its command with `tinv
from-diffusers` and trains tinv on the recorded inputs. All values of the two runs must be equal up to rounding.

Take the script from diffusers' examples/textual_inversion, commit 58eb52c0 or newer. It needs accelerate, tensorboard
and torchvision; instead of torchvision, a `torchvision.py` beside the script may provide the transforms that it uses.
textual_inversion_sdxl.py works too, with `--model` an SDXL folder.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from bench.machine import machine
from bench.reference import compare
from bench.reference.replay import replay
from tinv.config.compose import Groups
from tinv.config.validate import check
from tinv.from_diffusers import parse_command, translate
from tinv.runs.files import resolve_path, write_json
from tinv.training.main import register

TOYBOX = "pkg://tinv/toybox/pipeline"
RESULTS = Path(__file__).parent / "results"
FLAGS = (  # a high learning rate, weight decay and several vectors make differences visible
    *("--placeholder_token=<cat-toy>", "--initializer_token=toy", "--num_vectors=2", "--resolution=64", "--seed=0"),
    *("--train_batch_size=2", "--gradient_accumulation_steps=2", "--repeats=8", "--max_train_steps=5", "--scale_lr"),
    *("--learning_rate=2e-3", "--lr_scheduler=cosine", "--lr_warmup_steps=1", "--validation_steps=1000"),
)
OURS = (  # the training loop only
    *("trainer=cpu", "trainer.log_every_n_steps=1", "merge_batches=false"),
    *("+trainer.limit_val_batches=0", "+trainer.enable_progress_bar=false"),
)


def main(argv: Sequence[str]) -> int:
    """Compare, print and save the table; returns 0 if everything is equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, help="the path of diffusers' script")
    parser.add_argument("--model", default=TOYBOX, help="a pipeline folder (default: the toybox)")
    parser.add_argument("--images", default="pkg://tinv/toybox/concepts/cat_toy", help="a folder of images")
    arguments, flags = parser.parse_known_args(argv)
    flags = [*FLAGS, *flags]
    compared = run(arguments.reference, resolve_path(arguments.model), resolve_path(arguments.images), flags)
    print(f"\n{compare.as_text(compared)}\n")
    result = {
        "reference": {"script": arguments.reference.name, "sha256": _digest(arguments.reference)},
        "model": f"{json.loads((resolve_path(arguments.model) / 'model_index.json').read_text())['_class_name']}, "
        f"{'the toybox' if arguments.model == TOYBOX else 'a folder'}",
        "flags": flags,
        "machine": machine(),
        "tolerance": compare.TOLERANCE,
        "rows": compare.as_json(compared),
    }
    path = RESULTS / f"against_{arguments.reference.stem}.json"
    write_json(path, result)
    print(f"saved in {os.path.relpath(path)}")
    return 0 if all(row.is_equal for row in compared) else 1


def run(script: Path, model: Path, images: Path, flags: Sequence[str]) -> list[compare.Row]:
    """Run both programs and compare them."""
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = Path(folder) / "reference", Path(folder) / "tinv"
        words = [
            *flags,
            f"--pretrained_model_name_or_path={model}",
            f"--train_data_dir={images}",
            f"--output_dir={theirs}",
        ]
        recording = record(script, words, Path(folder) / "recording.pt")
        replayed = replay(recording, settings([script.name, *words]), ours)
        return [*compare.compare_values(recording, replayed), *compare.files(theirs, ours, str(model))]


def record(script: Path, flags: Sequence[str], recording: Path) -> dict[str, Any]:
    """The tensors that `bench.reference.record` records of the script."""
    command = [sys.executable, "-m", "bench.reference.record", str(recording), str(script.resolve()), *flags]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the reference failed:\n{done.stderr[-4000:]}")
    return torch.load(recording, weights_only=True)


def settings(words: Sequence[str]) -> DictConfig:
    """tinv's checked configuration, translated from the script's command."""
    register()
    groups = Groups()
    cfg = check(groups.compose([*translate(parse_command(words), groups).overrides, *OURS]))
    HydraConfig.instance().cfg = None
    return cfg


def _digest(script: Path) -> str:
    return hashlib.sha256(script.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
