"""`python -m tinv.toybox.measure`: measures the shipped model and writes its model card."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors import safe_open

from tinv.toybox import PIPELINE
from tinv.toybox.classifier import COLORS, Labels, ToyClassifier, accuracy, load_or_train_classifier, true_labels
from tinv.toybox.clip_features import ToyboxClip, to_pixels
from tinv.toybox.concepts import ALL_CONCEPTS
from tinv.toybox.pretrain.checkpoint import write_json
from tinv.toybox.pretrain.images import CAPTIONS, TRAINING_SEEDS, UNSEEN_SEEDS, load_captions
from tinv.toybox.pretrain.vae import psnr
from tinv.toybox.recovery import encode_renders
from tinv.toybox.sampling import GUIDANCE_SCALE, NUM_INFERENCE_STEPS, ToyboxPipeline, load_pipeline, sample
from tinv.toybox.sheet import make_sheet
from tinv.toybox.toys import KINDS
from tinv.toybox.world import Description, describe, recaption, render_image

NUM_GENERATED = 500
NUM_HELD_OUT = 1000
NUM_ON_SHEET = 64
"""Images on the contact sheet."""
HELD_OUT_SEEDS = UNSEEN_SEEDS + 1_000_000
CAPTION_SEEDS = UNSEEN_SEEDS + 2_000_000


def training_captions(images: int, out: Path | None) -> set[str]:
    """Returns every caption of the training set, from the working folder or generated again."""
    if out is not None:
        return {caption for several in load_captions(out, images) for caption in several}
    seeds = range(TRAINING_SEEDS, TRAINING_SEEDS + images)
    others = {recaption(seed, draw) for seed in seeds for draw in range(1, CAPTIONS)}
    return others | {describe(seed).caption for seed in seeds}


def unambiguous_descriptions(seen: set[str]) -> Iterator[Description]:
    """Yields descriptions outside the training set whose caption states kind and color of the toy."""
    seed = CAPTION_SEEDS
    while True:
        description = describe(seed)
        seed += 1
        words = description.caption.split()
        if description.caption not in seen and description.toy.kind in words and names_color_first(description):
            yield description


def names_color_first(description: Description) -> bool:
    """Returns whether the first color of the caption is that of the toy."""
    mentioned = [word for word in description.caption.split() if word in COLORS]
    before_scene = description.caption.split(" on a ")[0].split()
    return bool(mentioned) and mentioned[0] == description.toy.color.name and mentioned[0] in before_scene


def measure_vae(pipeline_folder: Path) -> float:
    """Returns the PSNR of the shipped VAE on held-out renders, in dB."""
    vae = AutoencoderKL.from_pretrained(pipeline_folder / "vae").eval()
    images = to_pixels(np.stack([render_image(HELD_OUT_SEEDS + i)[0] for i in range(200)]))
    with torch.no_grad():
        painted = vae.decode(vae.encode(images).latent_dist.mean).sample
    return float(psnr(painted, images).mean())


def measure_samples(
    pipeline: ToyboxPipeline, sheet: Path, classifier: ToyClassifier, seen: set[str]
) -> dict[str, float]:
    """Classifies samples of captions outside the training set.

    Args:
        pipeline: draws the samples.
        sheet: the contact sheet to write; its captions are written beside it.
        classifier: recognizes kind and color.
        seen: the captions of the training set.
    """
    held_out = range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + NUM_HELD_OUT)
    own = accuracy(classifier.classify(np.stack([render_image(seed)[0] for seed in held_out])), true_labels(held_out))
    stream = unambiguous_descriptions(seen)
    descriptions = [next(stream) for _ in range(NUM_GENERATED)]
    images = sample(pipeline, [description.caption for description in descriptions])
    truth = Labels(
        torch.tensor([KINDS.index(description.toy.kind) for description in descriptions]),
        torch.tensor([COLORS.index(str(description.toy.color.name)) for description in descriptions]),
    )
    accuracies = accuracy(classifier.classify(images), truth)
    make_sheet(list(images[:NUM_ON_SHEET]), columns=8, enlarge=2).save(sheet, optimize=True, quality=90)
    write_json(sheet.with_suffix(".json"), [description.caption for description in descriptions[:NUM_ON_SHEET]])
    return {
        "kind_accuracy": accuracies[0],
        "color_accuracy": accuracies[1],
        "classifier_kind_accuracy": own[0],
        "classifier_color_accuracy": own[1],
    }


def parameters_in(file: Path) -> int:
    """Returns the number of parameters in a safetensors file."""
    with safe_open(file, "pt") as tensors:
        return sum(int(np.prod(tensors.get_slice(key).get_shape())) for key in tensors.keys())  # noqa: SIM118


def measure_sizes(target: Path) -> dict[str, object]:
    """Returns the megabytes of all shipped files and the millions of parameters of each component."""
    weights = [*sorted((target / "pipeline").rglob("*.safetensors")), *sorted((target / "clip").rglob("*.safetensors"))]
    files = [file for folder in ("pipeline", "clip") for file in (target / folder).rglob("*") if file.is_file()]
    return {
        "megabytes": round(sum(file.stat().st_size for file in files) / 1e6, 2),
        "million_parameters": {file.parent.name: round(parameters_in(file) / 1e6, 2) for file in weights},
    }


def measure(target: Path, *, out: Path | None = None, images: int = 80_000) -> None:
    """Measures the model in `target` and writes `target/card`.

    Args:
        target: holds `pipeline` and `clip`.
        out: the working folder of the pretraining; without it the training facts of the last card are used.
        images: the size of the training set.
    """
    card = target / "card"
    card.mkdir(exist_ok=True)
    file = card / "card.json"
    training = json.loads(file.read_text())["training"] if file.exists() else {}
    if out is not None:
        stages = {stage: out / f"{stage}.json" for stage in ("clip", "image_encoder", "vae", "unet")}
        training = {stage: json.loads(path.read_text()) for stage, path in stages.items()}
        training["images"] = images
    classifier = load_or_train_classifier(out / "classifier.pt" if out is not None else None)
    clip = ToyboxClip(target / "clip")
    areas = {concept.name: encode_renders(concept.name, clip).area_under_curve for concept in ALL_CONCEPTS}
    figures = {
        "training": training,
        "sizes": measure_sizes(target),
        "vae_psnr": measure_vae(target / "pipeline"),
        **measure_samples(
            load_pipeline(target / "pipeline"), card / "contact_sheet.png", classifier, training_captions(images, out)
        ),
        "image_encoder_area_under_curve": areas,
        "generated": NUM_GENERATED,
        "sampler": {
            "name": "DPM-Solver++",
            "num_inference_steps": NUM_INFERENCE_STEPS,
            "guidance_scale": GUIDANCE_SCALE,
        },
    }
    write_json(file, figures)
    (card / "README.md").write_text(card_text(figures))
    print(json.dumps(figures, indent=2), flush=True)


def card_text(figures: dict) -> str:
    """Returns the text of the model card."""
    training, sizes, sampler = figures["training"], figures["sizes"], figures["sampler"]
    image_encoder = training["image_encoder"]
    parts = "\n".join(f"| {part} | {millions} M |" for part, millions in sizes["million_parameters"].items())
    areas = "\n".join(f"| `{name}` | {area:.3f} |" for name, area in figures["image_encoder_area_under_curve"].items())
    return f"""# The toybox model

A small Stable Diffusion model trained from scratch on tinv's own toy world (64 x 64 pixels), and the CLIP model of its
text encoder. Written by `python -m tinv.toybox.measure`; the same figures are in `card.json`.

| part | parameters |
|---|---|
{parts}

{sizes["megabytes"]} MB in half precision, for all files of the pipeline and the CLIP.

## Training

Trained on {training["images"]} rendered images with {CAPTIONS} captions each, and on their mirror images.

| stage | training samples | result |
|---|---|---|
| CLIP | {training["clip"]["samples"]} | contrastive loss {training["clip"]["loss"]:.3f} |
| CLIP image encoder | {image_encoder["samples"]} | contrastive loss {image_encoder["contrastive_loss"]:.3f}, \
claim loss {image_encoder["claim_loss"]:.3f} |
| VAE decoder | {training["vae"]["samples"]} | {figures["vae_psnr"]:.2f} dB PSNR on 200 unseen renders |
| U-Net | {training["unet"]["samples"]} | held-out noise error {training["unet"]["held_out_loss"]:.4f} |

## Samples

{figures["generated"]} samples of captions outside the training set ({sampler["name"]},
{sampler["num_inference_steps"]} steps, guidance scale {sampler["guidance_scale"]}), classified by a network trained on
renders:

| | samples | held-out renders |
|---|---|---|
| accuracy of the kind of toy | {figures["kind_accuracy"]:.1%} | {figures["classifier_kind_accuracy"]:.1%} |
| accuracy of the color | {figures["color_accuracy"]:.1%} | {figures["classifier_color_accuracy"]:.1%} |

![The first {NUM_ON_SHEET} of them](contact_sheet.png)

The captions of the sheet are in `contact_sheet.json`.

## Image encoder

It separates renders of each concept from renders of other toys of its class in the same scene (area under the ROC
curve):

| concept | area |
|---|---|
{areas}
"""


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(prog="python -m tinv.toybox.measure", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--target", type=Path, default=PIPELINE.parent, help="folder of pipeline/ and clip/")
    parser.add_argument("--out", type=Path, help="working folder of the pretraining, for the training facts")
    arguments = parser.parse_args()
    measure(arguments.target, out=arguments.out)


if __name__ == "__main__":
    main()
