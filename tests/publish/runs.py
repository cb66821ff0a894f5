"""Writes the folder of a finished run."""

import json
from pathlib import Path

import torch
import yaml
from omegaconf import OmegaConf
from PIL import Image

from tinv import formats
from tinv.formats import LearnedEmbedding

SETTINGS = {
    "name": "cat_toy",
    "data": {"recursive": False},
    "callbacks": {"samples": {"num_inference_steps": 25, "guidance_scale": 7.5}},
    "hub": {"_target_": "tinv.publish.Publisher", "name": "${name}", "push": False, "repo_id": None, "private": True},
}
WIDTHS = {"clip_l": 768, "clip_g": 1280, "clip_h": 1024}
CARD = {
    "status": "finished",
    "command": "train.py data.folder=/home/alice/private",
    "effective_batch": 4,
    "precision": "bf16-mixed",
    "machine": {"device_name": "NVIDIA A100", "platform": "Linux-alices-laptop"},
    "result": {"steps": 3000, "val/loss": 0.12345},
    "seconds": {"training": 3661.0, "total": 4000.0},
}


def finished_run(
    folder: Path,
    *overrides: str,
    images: Path,
    token: str = "<cat-toy>",
    base: str = "stable-diffusion-v1-5/stable-diffusion-v1-5",
    encoders: tuple[str, ...] = ("clip_l",),
    widths: dict[str, int] = WIDTHS,
    **provenance: str,
) -> Path:
    """Writes a run folder with an embedding of two vectors for each text encoder."""
    all_overrides = [f"data.folder={images}", f"concept.placeholder_token='{token}'", "concept.initializer_token=toy"]
    all_overrides += ["model=local", f"model.pretrained={base}", *overrides]
    dotlist = [text for text in all_overrides if "." in text.partition("=")[0]]
    cfg = OmegaConf.merge(SETTINGS, OmegaConf.from_dotlist(dotlist))
    hydra = folder / ".hydra"
    hydra.mkdir(parents=True)
    OmegaConf.save(cfg, hydra / "config.yaml")
    (hydra / "overrides.yaml").write_text(yaml.safe_dump(all_overrides))
    (hydra / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": {"cwd": str(Path.cwd())}}}))
    metadata = {"base_model": base, "kind": "object", "initializer_token": "toy", "steps": "3000", "seed": "0"}
    vectors = {name: torch.randn(2, widths[name], generator=torch.Generator().manual_seed(0)) for name in encoders}
    formats.write(folder / "learned_embeds.safetensors", LearnedEmbedding(token, vectors, metadata | provenance))
    (folder / "run.json").write_text(json.dumps(CARD))
    (folder / "samples").mkdir()
    for step in (0, 100, 3000):
        Image.new("RGB", (90, 60), (step % 256, 80, 80)).save(folder / "samples" / f"step_{step:06d}.png")
    for other in ("metrics.csv", "checkpoints/step_003000.ckpt", "wandb/log.txt", "tensorboard/events"):
        (folder / other).parent.mkdir(exist_ok=True)
        (folder / other).write_text("private")
    return folder
