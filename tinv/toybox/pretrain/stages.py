"""Runs the stages in order; each reads the results of earlier stages from the working folder."""

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, PreTrainedTokenizerBase, T5Tokenizer

from tinv.toybox.pretrain import images as image_files
from tinv.toybox.pretrain import parallel
from tinv.toybox.pretrain.assemble import assemble, assemble_flow, unpack
from tinv.toybox.pretrain.clip import caption_ids, to_pixels, train_clip
from tinv.toybox.pretrain.clip_image_encoder import train_image_encoder
from tinv.toybox.pretrain.flow import (
    CaptionIds,
    FlowData,
    FlowTrainingSet,
    decay_flow,
    train_flow,
)
from tinv.toybox.pretrain.linear_encoder import encode_images, fit_linear_encoder
from tinv.toybox.pretrain.pca_encoder import Components, encode, principal_components
from tinv.toybox.pretrain.settings import Recipe
from tinv.toybox.pretrain.t5_tokenizer import MAX_LENGTH, load_t5_tokenizer, make_t5_tokenizer
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
    if "flow" in requested or "flow_decay" in requested:
        data = build_flow_data(out, recipe)
        if "flow" in requested:
            train_flow(out, data, recipe.flow)
        if "flow_decay" in requested:
            decay_flow(out, data, recipe.flow)
    if "assemble" in requested:
        assemble(out, target)
    if "flow_assemble" in requested:
        assemble_flow(out, target)
    if "measure" in requested:
        from tinv.toybox.measure import measure

        measure(target, out=out)
    if "flow_measure" in requested:
        from tinv.toybox.measure_flow import measure_flow

        measure_flow(target, out=out)


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
    empty = padded_ids(tokenizer, [[""]], length)[0, 0]
    return TrainingSet(torch.cat(latents), padded_ids(tokenizer, captions, length), empty, scaling)


def build_flow_data(out: Path, recipe: Recipe) -> FlowData:
    """Returns the latents and captions of all images, on as many processes as torchrun started."""
    parallel.join(recipe.flow.device)
    captions = image_files.load_captions(out, recipe.images)
    if parallel.rank() == 0:
        make_t5_tokenizer(out, captions)
    parallel.wait()
    tokenizers = load_tokenizer(out), load_t5_tokenizer(out)
    images = load_images(out, recipe)
    encoder = fit_linear_encoder(AutoencoderKL.from_pretrained(out / "vae_start").eval(), images[:100])
    new_images, new_captions = image_files.unseen_images(UNSEEN)
    unseen_images = torch.from_numpy(new_images).permute(0, 3, 1, 2)
    seen = build_flow_training_set([images, images.flip(3)], captions, tokenizers, encoder)
    unseen = build_flow_training_set([unseen_images], [[c] for c in new_captions], tokenizers, encoder)
    clip = CLIPTextModel.from_pretrained(out / "clip").eval().to(recipe.flow.device).requires_grad_(False)
    return FlowData(seen, unseen, clip, vocabulary=len(tokenizers[1]))


def build_flow_training_set(
    versions: list[Tensor], captions: list[list[str]], tokenizers: tuple[CLIPTokenizer, T5Tokenizer], encoder: Tensor
) -> FlowTrainingSet:
    """Returns the latents of all versions of the images, and the token ids of their captions for CLIP and T5."""
    clip, t5 = (
        CaptionIds(padded_ids(tokenizer, captions, length), padded_ids(tokenizer, [[""]], length)[0, 0])
        for tokenizer, length in zip(tokenizers, (tokenizers[0].model_max_length, MAX_LENGTH), strict=True)
    )
    return FlowTrainingSet(torch.cat([encode_images(images, encoder) for images in versions]), clip, t5)


def padded_ids(tokenizer: PreTrainedTokenizerBase, captions: list[list[str]], length: int) -> Tensor:
    """Returns the token ids of all captions, [N, K, length] int16."""
    ids = caption_ids(tokenizer, captions)
    padding = ids.new_full((*ids.shape[:2], length - ids.shape[2]), tokenizer.pad_token_id)
    return torch.cat([ids, padding], dim=2)
