"""diffusers' own training script and tinv, on the same model, pictures, captions, timesteps and noise.

    python -m bench.against_reference --reference path/to/textual_inversion.py [--model FOLDER] [--pictures FOLDER]
                                      [the script's own flags ...]

The script runs unchanged in a process of its own, and everything that it computes is written down. Its command goes
through `tinv from-diffusers`, and tinv's own loop is fed what it was fed. Every number of the two runs must agree.

The script is not part of tinv: take it from diffusers' examples/textual_inversion, commit 58eb52c0 or newer. It wants
accelerate, tensorboard and torchvision; where torchvision cannot be had, a `torchvision.py` beside the script will do
that has the transforms which the script uses. textual_inversion_sdxl.py works as well, with `--model` a folder of SDXL.
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
from tinv.runs.files import locate, write_json
from tinv.training.main import register

TOYBOX = "pkg://tinv/toybox/pipeline"
RESULTS = Path(__file__).parent / "results"
FLAGS = (  # a rate that moves the rows far, decay and several vectors: what goes wrong then shows
    *("--placeholder_token=<cat-toy>", "--initializer_token=toy", "--num_vectors=2", "--resolution=64", "--seed=0"),
    *("--train_batch_size=2", "--gradient_accumulation_steps=2", "--repeats=8", "--max_train_steps=5", "--scale_lr"),
    *("--learning_rate=2e-3", "--lr_scheduler=cosine", "--lr_warmup_steps=1", "--validation_steps=1000"),
)
OURS = (  # the loop alone
    *("trainer=cpu", "trainer.log_every_n_steps=1", "merge_batches=false"),
    *("+trainer.limit_val_batches=0", "+trainer.enable_progress_bar=false"),
)


def main(argv: Sequence[str]) -> int:
    """Compare, print the table, keep it; 0 if everything is equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, help="the path of diffusers' script")
    parser.add_argument("--model", default=TOYBOX, help="a pipeline folder (default: the toybox)")
    parser.add_argument("--pictures", default="pkg://tinv/toybox/concepts/cat_toy", help="a folder of pictures")
    arguments, flags = parser.parse_known_args(argv)
    flags = [*FLAGS, *flags]
    compared = run(arguments.reference, locate(arguments.model), locate(arguments.pictures), flags)
    print(f"\n{compare.as_text(compared)}\n")
    result = {
        "reference": {"script": arguments.reference.name, "sha256": _digest(arguments.reference)},
        "model": f"{json.loads((locate(arguments.model) / 'model_index.json').read_text())['_class_name']}, "
        f"{'the toybox' if arguments.model == TOYBOX else 'a folder'}",
        "flags": flags,
        "machine": machine(),
        "tolerance": compare.TOLERANCE,
        "rows": compare.as_json(compared),
    }
    path = RESULTS / f"against_{arguments.reference.stem}.json"
    write_json(path, result)
    print(f"kept in {os.path.relpath(path)}")
    return 0 if all(row.is_equal for row in compared) else 1


def run(script: Path, model: Path, pictures: Path, flags: Sequence[str]) -> list[compare.Row]:
    """Both runs, and every comparison of them."""
    with tempfile.TemporaryDirectory() as place:
        theirs, ours = Path(place) / "reference", Path(place) / "tinv"
        words = [
            *flags,
            f"--pretrained_model_name_or_path={model}",
            f"--train_data_dir={pictures}",
            f"--output_dir={theirs}",
        ]
        recording = record(script, words, Path(place) / "recording.pt")
        played = replay(recording, settings([script.name, *words]), ours)
        return [*compare.computed(recording, played), *compare.files(theirs, ours, str(model))]


def record(script: Path, flags: Sequence[str], recording: Path) -> dict[str, Any]:
    """What the script computes, run in a process of its own: `bench.reference.record`."""
    command = [sys.executable, "-m", "bench.reference.record", str(recording), str(script.resolve()), *flags]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the reference failed:\n{done.stderr[-4000:]}")
    return torch.load(recording, weights_only=True)


def settings(words: Sequence[str]) -> DictConfig:
    """The checked settings of tinv's own run, from the script's own command."""
    register()
    groups = Groups()
    cfg = check(groups.compose([*translate(parse_command(words), groups).overrides, *OURS]))
    HydraConfig.instance().cfg = None
    return cfg


def _digest(script: Path) -> str:
    return hashlib.sha256(script.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
