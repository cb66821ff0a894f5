"""`python -m tinv.toybox.measure_flow`: measures the flow model as `measure` does the U-Net, and writes its card."""

import argparse
import json
from pathlib import Path

from tinv.toybox import PIPELINE
from tinv.toybox.classifier import load_or_train_classifier
from tinv.toybox.measure import NUM_GENERATED, NUM_ON_SHEET, measure_samples, parameters_in, training_captions
from tinv.toybox.pretrain.assemble import size_of
from tinv.toybox.pretrain.checkpoint import write_json
from tinv.toybox.sampling import FLOW_GUIDANCE_SCALE, NUM_INFERENCE_STEPS, load_pipeline


def measure_flow(target: Path, *, out: Path | None = None, images: int = 80_000) -> None:
    """Measures `target/flow_pipeline` and writes `target/flow_card`.

    Args:
        target: holds `flow_pipeline`.
        out: the working folder of the pretraining; without it the training facts of the last card are used.
        images: the size of the training set.
    """
    card, folder = target / "flow_card", target / "flow_pipeline"
    card.mkdir(exist_ok=True)
    file = card / "card.json"
    if out is None:
        training = json.loads(file.read_text())["training"]
    else:
        training = {"images": images, **json.loads((out / "flow_decay.json").read_text())}
    classifier = load_or_train_classifier(out / "classifier.pt" if out is not None else None)
    figures = {
        "training": training,
        "megabytes": round(size_of(folder), 2),
        "million_parameters": {
            path.parent.name: round(parameters_in(path) / 1e6, 2) for path in sorted(folder.rglob("*.safetensors"))
        },
        **measure_samples(
            load_pipeline(folder), card / "contact_sheet.webp", classifier, training_captions(images, out)
        ),
    }
    write_json(file, figures)
    (card / "README.md").write_text(card_text(figures))
    print(json.dumps(figures, indent=2), flush=True)


def card_text(figures: dict) -> str:
    """Returns the text of the model card."""
    training = figures["training"]
    parts = "\n".join(f"| {part} | {millions} M |" for part, millions in figures["million_parameters"].items())
    return f"""# The toybox's flow model

A tiny Flux trained from scratch on tinv's own toy world (64 x 64 pixels), with its T5 text encoder; CLIP and VAE are
those of the toybox model. Written by `python -m tinv.toybox.measure_flow`; the same figures are in `card.json`.

| part | parameters |
|---|---|
{parts}

{figures["megabytes"]} MB in half precision.

Trained by flow matching on {training["samples"]} samples of {training["images"]} rendered images and their mirror
images; the held-out error of the velocity is {training["held_out_loss"]:.4f}.

{NUM_GENERATED} samples of captions outside the training set (Euler, {NUM_INFERENCE_STEPS} steps, true guidance scale
{FLOW_GUIDANCE_SCALE}), classified by a network trained on renders:

| | samples | held-out renders |
|---|---|---|
| accuracy of the kind of toy | {figures["kind_accuracy"]:.1%} | {figures["classifier_kind_accuracy"]:.1%} |
| accuracy of the color | {figures["color_accuracy"]:.1%} | {figures["classifier_color_accuracy"]:.1%} |

![The first {NUM_ON_SHEET} of them](contact_sheet.webp)

The captions of the sheet are in `contact_sheet.json`.
"""


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(
        prog="python -m tinv.toybox.measure_flow", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--target", type=Path, default=PIPELINE.parent, help="folder of flow_pipeline/")
    parser.add_argument("--out", type=Path, help="working folder of the pretraining, for the training facts")
    arguments = parser.parse_args()
    measure_flow(arguments.target, out=arguments.out)


if __name__ == "__main__":
    main()
