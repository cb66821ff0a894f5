"""Time to encode an image and to read its moments from the cache: the VAE of Stable Diffusion 1.5, random weights."""

import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import AutoencoderKL

from bench.figures import Figure
from bench.published import configs
from tinv.data.latent_cache import LatentCache
from tinv.models import vae as latents
from tinv.models.vae import encoding_identity
from tinv.runs.text_table import align_columns

HEAD = ("", "wall ms", "CPU ms")


def run(options: Namespace) -> dict[str, Any]:
    """Time the fingerprint of the encoder, encoding a view, and a cache hit."""
    config = configs("sd15", small=options.tiny)["vae"]
    vae = AutoencoderKL.from_config(config).requires_grad_(False).eval()
    side = config["sample_size"]
    times: dict[str, list[tuple[float, float]]] = {
        "fingerprint the encoder": [],
        "encode a view": [],
        "read from the cache": [],
    }
    with TemporaryDirectory() as folder:
        encoder = encoding_identity(vae, torch.device("cpu"))
        cache = LatentCache(lambda x: latents.encode(vae, x), Path(folder), encoder_id=encoder, max_bytes=10**9)
        for _ in range(options.rounds):
            view = torch.rand(1, 3, side, side) * 2 - 1
            times["fingerprint the encoder"].append(time_call(lambda: encoding_identity(vae, torch.device("cpu"))))
            for name in ("encode a view", "read from the cache"):
                times[name].append(time_call(lambda view=view: cache(view)))  # type: ignore[misc]
    assert cache.misses == cache.hits == options.rounds
    results = {
        name: {"wall_ms": Figure.of([wall for wall, _ in laps]), "cpu_ms": Figure.of([cpu for _, cpu in laps])}
        for name, laps in times.items()
    }
    print(f"\nmoments: {side} px")
    print(align_columns([HEAD, *((name, *figures.values()) for name, figures in results.items())], align_right=True))
    return {name: {key: figure.as_json() for key, figure in figures.items()} for name, figures in results.items()}


def time_call(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU milliseconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)
