"""Runs the stages in order; each reads the results of earlier stages from the working folder."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from tinv.toybox.pretrain import images as image_files
from tinv.toybox.pretrain import parallel
from tinv.toybox.pretrain.assemble import assemble, unpack
from tinv.toybox.pretrain.clip import caption_ids, to_pixels, train_clip
from tinv.toybox.pretrain.clip_image_encoder import train_image_encoder
from tinv.toybox.pretrain.pca_encoder import Components, encode, principal_components
from tinv.toybox.pretrain.settings import Recipe
from tinv.toybox.pretrain.tokenizer import load_tokenizer, make_tokenizer
from tinv.toybox.pretrain.unet import TrainingSet, train_unet
from tinv.toybox.pretrain.vae import EXAMPLES, start_vae, train_vae

UNSEEN = 400
"""Number of images for the denoiser's held-out loss."""


def run(requested: Sequence[str], *, out: Path, target: Path, recipe: Recipe) -> None:
    """Runs the requested stages in order."""
    out.mkdir(parents=True, exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    if "images" in requested:
        image_files.render_images(out, count=recipe.images, processes=recipe.processes)
    if "unpack" in requested:
        unpack(target, out)
    if "tokenizer" in requested:
        make_tokenizer(out, image_files.load_captions(out, recipe.images))
    if "clip" in requested or "image_encoder" in requested:
        tokenizer = load_tokenizer(out)
        ids = caption_ids(tokenizer, image_files.load_captions(out, recipe.images))
        images = load_images(out, recipe)
        if "clip" in requested:
            train_clip(out, images, ids, tokenizer, recipe.clip)
        if "image_encoder" in requested:
            train_image_encoder(out, images, ids, tokenizer, recipe.image_encoder)
    if "vae" in requested:
        train_vae(out, load_images(out, recipe), recipe.vae)
    if "unet" in requested:
        run_unet(out, recipe)
    if "assemble" in requested:
        assemble(out, target)
    if "measure" in requested:
        from tinv.toybox.measure import measure

        measure(target, out=out)


def load_images(out: Path, recipe: Recipe) -> Tensor:
    """Returns all training images, [N, 3, 64, 64] uint8."""
    return torch.from_numpy(image_files.load_images(out, recipe.images)).permute(0, 3, 1, 2).contiguous()


def run_unet(out: Path, recipe: Recipe) -> None:
    """Computes the latents and trains the denoiser, on as many processes as torchrun started."""
    parallel.join(recipe.unet.device)
    tokenizer = load_tokenizer(out)
    images = load_images(out, recipe)
    scaling = start_vae(out, images, recipe.vae).config.scaling_factor
    components = principal_components(to_pixels(images[:EXAMPLES]), recipe.vae.latent_channels)
    captions = image_files.load_captions(out, recipe.images)
    training_set = build_training_set(images, captions, tokenizer, components, scaling)
    new_images, new_captions = image_files.unseen_images(UNSEEN)
    unseen_images = torch.from_numpy(new_images).permute(0, 3, 1, 2)
    unseen = build_training_set(unseen_images, [[c] for c in new_captions], tokenizer, components, scaling)
    text_encoder = CLIPTextModel.from_pretrained(out / "clip").eval().to(recipe.unet.device)
    text_encoder.requires_grad_(False)
    train_unet(out, training_set, unseen, text_encoder, recipe.unet)


def build_training_set(
    images: Tensor, captions: list[list[str]], tokenizer: CLIPTokenizer, components: Components, scaling: float
) -> TrainingSet:
    """Returns the latents of images and of their mirror images, and the token ids of their captions."""
    versions = (images, images.flip(3))
    latents = [
        (encode(to_pixels(part), components) * scaling).bfloat16()
        for version in versions
        for part in version.split(1000)
    ]
    length = tokenizer.model_max_length
    ids = caption_ids(tokenizer, captions)
    padding = ids.new_full((*ids.shape[:2], length - ids.shape[2]), tokenizer.pad_token_id)
    empty = tokenizer("", padding="max_length", max_length=length, return_tensors="pt").input_ids[0]
    return TrainingSet(torch.cat(latents), torch.cat([ids, padding], dim=2), empty, scaling)
