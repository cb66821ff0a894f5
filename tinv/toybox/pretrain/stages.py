"""The stages in order, each reading what the ones before it left in the working folder."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from tinv.toybox.pretrain import images as pictures
from tinv.toybox.pretrain import parallel
from tinv.toybox.pretrain.assemble import assemble, unpack
from tinv.toybox.pretrain.clip import caption_ids, pixels, train_clip
from tinv.toybox.pretrain.clip_image_encoder import train_eyes
from tinv.toybox.pretrain.pca_encoder import Components, encode, principal_components
from tinv.toybox.pretrain.settings import Recipe
from tinv.toybox.pretrain.tokenizer import load_tokenizer, make_tokenizer
from tinv.toybox.pretrain.unet import TrainingSet, train_unet
from tinv.toybox.pretrain.vae import EXAMPLES, start_vae, train_vae

UNSEEN = 400
"""Pictures on which the denoiser's held-out loss is measured."""


def run(wanted: Sequence[str], *, out: Path, target: Path, recipe: Recipe) -> None:
    """Run the wanted stages in order."""
    out.mkdir(parents=True, exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    if "pictures" in wanted:
        pictures.render_pictures(out, count=recipe.pictures, processes=recipe.processes)
    if "unpack" in wanted:
        unpack(target, out)
    if "tokenizer" in wanted:
        make_tokenizer(out, pictures.load_captions(out, recipe.pictures))
    if "clip" in wanted or "eyes" in wanted:
        tokenizer = load_tokenizer(out)
        ids = caption_ids(tokenizer, pictures.load_captions(out, recipe.pictures))
        images = load_images(out, recipe)
        if "clip" in wanted:
            train_clip(out, images, ids, tokenizer, recipe.clip)
        if "eyes" in wanted:
            train_eyes(out, images, ids, tokenizer, recipe.eyes)
    if "vae" in wanted:
        train_vae(out, load_images(out, recipe), recipe.vae)
    if "unet" in wanted:
        run_unet(out, recipe)
    if "assemble" in wanted:
        assemble(out, target)
    if "measure" in wanted:
        from tinv.toybox.measure import measure

        measure(target, out=out)


def load_images(out: Path, recipe: Recipe) -> Tensor:
    """All training pictures, [N, 3, 64, 64] uint8."""
    return torch.from_numpy(pictures.load_pictures(out, recipe.pictures)).permute(0, 3, 1, 2).contiguous()


def run_unet(out: Path, recipe: Recipe) -> None:
    """Prepare the latents, then train the denoiser, on as many processes as torchrun started."""
    parallel.join(recipe.unet.device)
    tokenizer = load_tokenizer(out)
    images = load_images(out, recipe)
    scaling = start_vae(out, images, recipe.vae).config.scaling_factor
    components = principal_components(pixels(images[:EXAMPLES]), recipe.vae.latent_channels)
    captions = pictures.load_captions(out, recipe.pictures)
    lessons = build_training_set(images, captions, tokenizer, components, scaling)
    new_images, new_captions = pictures.unseen_pictures(UNSEEN)
    unseen_images = torch.from_numpy(new_images).permute(0, 3, 1, 2)
    unseen = build_training_set(unseen_images, [[c] for c in new_captions], tokenizer, components, scaling)
    text_encoder = CLIPTextModel.from_pretrained(out / "clip").eval().to(recipe.unet.device)
    text_encoder.requires_grad_(False)
    train_unet(out, lessons, unseen, text_encoder, recipe.unet)


def build_training_set(
    images: Tensor, captions: list[list[str]], tokenizer: CLIPTokenizer, components: Components, scaling: float
) -> TrainingSet:
    """Latents of pictures and of their mirror images, and their captions as ids."""
    both = (images, images.flip(3))
    latents = [(encode(pixels(part), components) * scaling).bfloat16() for half in both for part in half.split(1000)]
    length = tokenizer.model_max_length
    ids = caption_ids(tokenizer, captions)
    padding = ids.new_full((*ids.shape[:2], length - ids.shape[2]), tokenizer.pad_token_id)
    empty = tokenizer("", padding="max_length", max_length=length, return_tensors="pt").input_ids[0]
    return TrainingSet(torch.cat(latents), torch.cat([ids, padding], dim=2), empty, scaling)
