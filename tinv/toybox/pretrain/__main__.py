"""`python -m tinv.toybox.pretrain --out DIR`: make the toybox model from one seed, stage by stage.

Every stage can be killed at any moment and goes on where it was when the command is given again; finished stages are
not repeated. With the defaults this is the whole recipe. `--unet-samples` may be raised later to go on training, and
lowered to end early: the rate falls over the last fifth, wherever that is.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from transformers.utils import logging

from tinv.toybox.pretrain.settings import Recipe

STAGES = ("images", "tokenizer", "clip", "image_encoder", "vae", "unet", "assemble", "measure")


def parse() -> argparse.Namespace:
    """The command line."""
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
    for stage in ("clip", "image_encoder", "vae", "unet"):
        default = getattr(recipe, stage).samples
        parser.add_argument(
            f"--{stage.replace('_', '-')}-samples", type=int, default=default, help=f"training samples ({default})"
        )
    return parser.parse_args()


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """The default recipe with what the command line changes."""
    recipe, common = Recipe(images=arguments.images), {"device": arguments.device, "seed": arguments.seed}
    return replace(
        recipe,
        clip=replace(recipe.clip, samples=arguments.clip_samples, **common),
        image_encoder=replace(recipe.image_encoder, samples=arguments.image_encoder_samples, **common),
        vae=replace(recipe.vae, samples=arguments.vae_samples, **common),
        unet=replace(recipe.unet, samples=arguments.unet_samples, **common),
    )


def main() -> None:
    """Run the stages."""
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
