"""`python -m tinv.toybox.pretrain --out DIR`: pretrain the toybox model from one seed, stage by stage.

A stage that was killed resumes when the command is repeated; finished stages are not repeated. The defaults are the
recipe of the shipped model. `--unet-samples` can be increased later to continue training, or reduced to end early: the
learning rate decays over the last fifth of it. `--flow-samples` can be increased at any time, since the rate of that
stage is constant; stage `flow_decay` decays it in a copy of the last checkpoint.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from transformers.utils import logging

from tinv.toybox.pretrain.settings import Recipe

STAGES = (
    *("images", "tokenizer", "clip", "image_encoder", "vae"),
    *("unet", "assemble", "measure"),
    *("flow", "flow_decay", "flow_assemble", "flow_measure"),
)


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(prog="python -m tinv.toybox.pretrain", description=(__doc__ or "").split("\n")[0])
    recipe = Recipe()
    parser.add_argument("--out", type=Path, required=True, help="working folder: images, checkpoints, components")
    parser.add_argument("--stage", choices=("all", "unpack", *STAGES), default="all")
    parser.add_argument(
        "--target", type=Path, help="folder of the model for assemble, measure and unpack (default: OUT/model)"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's choice)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=recipe.images, help="number of images to render")
    for stage in ("clip", "image_encoder", "vae", "unet", "flow"):
        default = getattr(recipe, stage).samples
        parser.add_argument(
            f"--{stage.replace('_', '-')}-samples", type=int, default=default, help=f"training samples ({default})"
        )
    parser.add_argument(
        "--flow-decay-samples",
        type=int,
        default=recipe.flow.decay_samples,
        help=f"training samples of flow_decay ({recipe.flow.decay_samples})",
    )
    return parser.parse_args()


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """Returns the default recipe with the settings of the command line."""
    recipe, common = Recipe(images=arguments.images), {"device": arguments.device, "seed": arguments.seed}
    return replace(
        recipe,
        clip=replace(recipe.clip, samples=arguments.clip_samples, **common),
        image_encoder=replace(recipe.image_encoder, samples=arguments.image_encoder_samples, **common),
        vae=replace(recipe.vae, samples=arguments.vae_samples, **common),
        unet=replace(recipe.unet, samples=arguments.unet_samples, **common),
        flow=replace(recipe.flow, samples=arguments.flow_samples, decay_samples=arguments.flow_decay_samples, **common),
    )


def main() -> None:
    """Runs the stages."""
    from tinv.toybox.pretrain import stages

    arguments = parse()
    logging.set_verbosity_error()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    target = arguments.target or arguments.out / "model"
    requested = STAGES if arguments.stage == "all" else (arguments.stage,)
    stages.run(requested, out=arguments.out, target=target, recipe=recipe_of(arguments))


if __name__ == "__main__":
    main()
