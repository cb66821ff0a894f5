"""A minimal training loop over the same model, samples and loss: the baseline for the cost of Lightning and callbacks.

python bench/bare.py setting=value ...
"""

import sys
from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch

from tinv.config.compose import Groups
from tinv.config.validate import build, check
from tinv.data.dataset import RunBatchSampler, TrainingDataset, collate
from tinv.training.main import register


def main(overrides: Sequence[str]) -> None:
    """Train without writing files."""
    register()
    cfg = check(Groups().compose(list(overrides)))
    torch.manual_seed(cfg.seed)
    module, data = build(cfg.module), build(cfg.data)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with module.model.offloaded_vae.on(device):
        data.encode_images(module.model.encode_images, resolution=module.model.resolution)
    loop(module.to(device), data, cfg, device)


def loop(module: Any, data: Any, cfg: Any, device: torch.device) -> None:
    """Make all optimizer steps."""
    optimizer = build(cfg.optimizer)([vectors for vectors in module.parameters() if vectors.requires_grad])
    schedule = build(cfg.scheduler)(optimizer)
    samples = TrainingDataset(data.encoded_images, batch_size=data.batch_size, seed=cfg.seed)
    accumulate = cfg.trainer.accumulate_grad_batches
    numbers = iter(RunBatchSampler(start=0, stop=cfg.trainer.max_steps * accumulate, batch_size=data.batch_size))
    while micro := list(islice(numbers, accumulate)):
        for chosen in micro:
            batch = collate([samples[n] for n in chosen]).to(device)
            (module.losses(batch).mean() / accumulate).backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main(sys.argv[1:])
