"""`python -m tinv.toybox.measure`: how good the shipped model is, in figures, on a card.

Every figure on the card comes from here; nothing is typed in by hand.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors import safe_open

from tinv.toybox import PIPELINE
from tinv.toybox.classifier import COLOURS, Judge, Labels, agreement, labels_of, prepared_judge
from tinv.toybox.clip_features import FeatureExtractor, pixels
from tinv.toybox.concepts import ALL
from tinv.toybox.pretrain.checkpoint import write_json
from tinv.toybox.pretrain.images import CAPTIONS, TRAINING_SEEDS, UNSEEN_SEEDS, load_captions
from tinv.toybox.pretrain.vae import psnr
from tinv.toybox.recovery import look_at
from tinv.toybox.sampling import GUIDANCE, STEPS, load_pipeline, sample
from tinv.toybox.sheet import sheet
from tinv.toybox.toys import KINDS
from tinv.toybox.world import Description, describe, picture, recaption

GENERATED = 500
HELD_OUT = 1000
SHOWN = 64
"""Pictures on the contact sheet."""
HELD_OUT_SEEDS = UNSEEN_SEEDS + 1_000_000
CAPTION_SEEDS = UNSEEN_SEEDS + 2_000_000


def captions_seen(pictures: int, out: Path | None) -> set[str]:
    """Every caption of the training set, read from the working folder or made again."""
    if out is not None:
        return {caption for several in load_captions(out, pictures) for caption in several}
    seeds = range(TRAINING_SEEDS, TRAINING_SEEDS + pictures)
    others = {recaption(seed, draw) for seed in seeds for draw in range(1, CAPTIONS)}
    return others | {describe(seed).caption for seed in seeds}


def judgeable(seen: set[str]) -> Iterator[Description]:
    """New descriptions whose caption says which kind and which colour is asked for."""
    seed = CAPTION_SEEDS
    while True:
        description = describe(seed)
        seed += 1
        words = description.caption.split()
        if description.caption not in seen and description.toy.kind in words and starts_with_colour(description):
            yield description


def starts_with_colour(description: Description) -> bool:
    """Whether the first colour of the caption is that of the toy."""
    mentioned = [word for word in description.caption.split() if word in COLOURS]
    before_scene = description.caption.split(" on a ")[0].split()
    return bool(mentioned) and mentioned[0] == description.toy.colour.name and mentioned[0] in before_scene


def measure_vae(pipeline_folder: Path) -> float:
    """PSNR of the shipped VAE on unseen renders, dB."""
    vae = AutoencoderKL.from_pretrained(pipeline_folder / "vae").eval()
    images = pixels(np.stack([picture(HELD_OUT_SEEDS + i)[0] for i in range(200)]))
    with torch.no_grad():
        painted = vae.decode(vae.encode(images).latent_dist.mean).sample
    return float(psnr(painted, images).mean())


def measure_drawing(pipeline_folder: Path, card: Path, judge: Judge, seen: set[str]) -> dict[str, float]:
    """Have a judge look at pictures for captions that training never used, and draw the contact sheet."""
    held_out = range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + HELD_OUT)
    own = agreement(judge.verdicts(np.stack([picture(seed)[0] for seed in held_out])), labels_of(held_out))
    stream = judgeable(seen)
    asked = [next(stream) for _ in range(GENERATED)]
    images = sample(load_pipeline(pipeline_folder), [description.caption for description in asked])
    truth = Labels(
        torch.tensor([KINDS.index(description.toy.kind) for description in asked]),
        torch.tensor([COLOURS.index(str(description.toy.colour.name)) for description in asked]),
    )
    found = agreement(judge.verdicts(images), truth)
    sheet(list(images[:SHOWN]), columns=8, enlarge=2).save(card / "contact_sheet.png", optimize=True)
    write_json(card / "contact_sheet.json", [description.caption for description in asked[:SHOWN]])
    return {
        "kind_recognised": found[0],
        "colour_recognised": found[1],
        "judge_kind_on_renders": own[0],
        "judge_colour_on_renders": own[1],
    }


def parameters_in(file: Path) -> int:
    """Numbers in a safetensors file."""
    with safe_open(file, "pt") as tensors:
        return sum(int(np.prod(tensors.get_slice(key).get_shape())) for key in tensors.keys())  # noqa: SIM118


def measure_sizes(target: Path) -> dict[str, object]:
    """Megabytes of all shipped files and millions of parameters of each part."""
    weights = [*sorted((target / "pipeline").rglob("*.safetensors")), *sorted((target / "clip").rglob("*.safetensors"))]
    files = [file for folder in ("pipeline", "clip") for file in (target / folder).rglob("*") if file.is_file()]
    return {
        "megabytes": round(sum(file.stat().st_size for file in files) / 1e6, 2),
        "million_parameters": {file.parent.name: round(parameters_in(file) / 1e6, 2) for file in weights},
    }


def measure(target: Path, *, out: Path | None = None, pictures: int = 80_000) -> None:
    """Measure the model in `target` and write `target/card`.

    Args:
        target: holds `pipeline` and `clip`.
        out: the working folder of the pretraining; without it the facts of training are kept from the last card.
        pictures: how many pictures it was trained on.
    """
    card = target / "card"
    card.mkdir(exist_ok=True)
    file = card / "card.json"
    training = json.loads(file.read_text())["training"] if file.exists() else {}
    if out is not None:
        stages = {stage: out / f"{stage}.json" for stage in ("clip", "eyes", "vae", "unet")}
        training = {stage: json.loads(path.read_text()) for stage, path in stages.items()}
        training["pictures"] = pictures
    judge = prepared_judge(out / "judge.pt" if out is not None else None)
    tower = FeatureExtractor(target / "clip")
    areas = {concept.name: look_at(concept.name, tower).area_under_curve for concept in ALL}
    figures = {
        "training": training,
        "sizes": measure_sizes(target),
        "vae_psnr": measure_vae(target / "pipeline"),
        **measure_drawing(target / "pipeline", card, judge, captions_seen(pictures, out)),
        "tower_area_under_curve": areas,
        "generated": GENERATED,
        "sampler": {"name": "DPM-Solver++", "steps": STEPS, "guidance": GUIDANCE},
    }
    write_json(file, figures)
    (card / "README.md").write_text(card_text(figures))
    print(json.dumps(figures, indent=2), flush=True)


def card_text(figures: dict) -> str:
    """The card for people."""
    training, sizes, sampler = figures["training"], figures["sizes"], figures["sampler"]
    parts = "\n".join(f"| {part} | {millions} M |" for part, millions in sizes["million_parameters"].items())
    areas = "\n".join(f"| `{name}` | {area:.3f} |" for name, area in figures["tower_area_under_curve"].items())
    return f"""# The toybox model

A small Stable Diffusion trained from scratch on tinv's own toy world (64 x 64 pixels), and the CLIP it reads with.
Written by `python -m tinv.toybox.measure`; the same figures are in `card.json`.

| part | parameters |
|---|---|
{parts}

{sizes["megabytes"]} MB in half precision, all files of the pipeline and of the CLIP together.

## Training

Trained on {training["pictures"]} rendered pictures with {CAPTIONS} captions each, and on their mirror images.

| stage | samples seen | at the end |
|---|---|---|
| CLIP | {training["clip"]["samples"]} | contrastive loss {training["clip"]["loss"]:.3f} |
| its image tower, going on | {training["eyes"]["samples"]} | contrastive loss {training["eyes"]["contrast"]:.3f}, \
loss of claims {training["eyes"]["judgement"]:.3f} |
| VAE decoder | {training["vae"]["samples"]} | {figures["vae_psnr"]:.2f} dB PSNR on 200 unseen renders |
| U-Net | {training["unet"]["samples"]} | held-out noise error {training["unet"]["held_out_loss"]:.4f} |

## What it draws

{figures["generated"]} pictures for captions that training never used ({sampler["name"]}, {sampler["steps"]} steps,
guidance {sampler["guidance"]}), judged by a classifier trained on renders:

| | generated pictures | held-out renders (the judge's own score) |
|---|---|---|
| kind of toy recognised | {figures["kind_recognised"]:.1%} | {figures["judge_kind_on_renders"]:.1%} |
| colour recognised | {figures["colour_recognised"]:.1%} | {figures["judge_colour_on_renders"]:.1%} |

![The first {SHOWN} of them](contact_sheet.png)

The captions of the sheet are in `contact_sheet.json`.

## What it can tell apart

The image tower, asked to tell each concept from other toys of its class in the same scene (area under the curve):

| concept | area |
|---|---|
{areas}
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tinv.toybox.measure", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--target", type=Path, default=PIPELINE.parent, help="folder that holds pipeline/ and clip/")
    parser.add_argument("--out", type=Path, help="working folder of the pretraining, for the facts of training")
    arguments = parser.parse_args()
    measure(arguments.target, out=arguments.out)


if __name__ == "__main__":
    main()
