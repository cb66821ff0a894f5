"""A Stable Diffusion of the real classes, small enough for a test: random weights, 32-pixel images."""

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.optimization import get_constant_schedule
from lightning.pytorch import Trainer
from PIL import Image, ImageDraw
from tokenizers import pre_tokenizers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tinv.concept import Concept
from tinv.data.datamodule import ConceptDataModule
from tinv.diffusion.loss import DiffusionLoss
from tinv.embeddings import EmbeddingConfig
from tinv.models import LatentDiffusion, load
from tinv.training.module import TextualInversion
from tinv.types import Batch

WORDS = (
    "a photo of the rendering cropped clean dirty dark my cool close up bright good one rendition nice small weird "
    "large painting in style picture toy cat dog red on beach drawing"
).split()
RESOLUTION = 32
WIDTH = 32
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
NO_SAFETY_CHECKER: Any = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
CAT = Concept(placeholder_token="<cat-toy>", initializer_token="toy")
ADAM = partial(torch.optim.AdamW, lr=5e-3, weight_decay=0.0)


@lru_cache
def tiny_tokenizer() -> CLIPTokenizer:
    """CLIP's own tokenizer class, with WORDS as its only whole words."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary, merges = [*letters, *(letter + "</w>" for letter in letters)], []
    for word in sorted(WORDS, key=len, reverse=True):
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces[:2] = [pieces[0] + pieces[1]]
            vocabulary.append(pieces[0])
    merges, vocabulary = list(dict.fromkeys(merges)), list(dict.fromkeys(vocabulary))
    ids = {word: i for i, word in enumerate([*vocabulary, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer = CLIPTokenizer(vocab=ids, merges=merges, model_max_length=77)
    assert all(tokenizer.tokenize(word) == [word + "</w>"] for word in WORDS)
    return tokenizer


def tiny_text_config(tokenizer: CLIPTokenizer, width: int = WIDTH, **options: Any) -> CLIPTextConfig:
    """The configuration of a text encoder; its default `eos_token_id: 2` is that of the published models."""
    settings = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_act": "quick_gelu", "eos_token_id": 2}
    return CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=64, bos_token_id=0, **settings | options
    )


def tiny_vae(num_blocks: int = 2, **options: Any) -> AutoencoderKL:
    """A VAE that halves the sides of an image; each block more than two halves them again."""
    return AutoencoderKL(
        block_out_channels=(8, *(16,) * (num_blocks - 1)),
        down_block_types=("DownEncoderBlock2D",) * num_blocks,
        up_block_types=("UpDecoderBlock2D",) * num_blocks,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=RESOLUTION,
        **options,
    )


def tiny_unet(width: int = WIDTH, **options: Any) -> UNet2DConditionModel:
    """A U-Net of two blocks for text features of a width."""
    settings: dict[str, Any] = {
        "sample_size": RESOLUTION // 2,
        "block_out_channels": (16, 32),
        "down_block_types": ("CrossAttnDownBlock2D",) * 2,
        "up_block_types": ("CrossAttnUpBlock2D",) * 2,
        "layers_per_block": 1,
        "cross_attention_dim": width,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**settings | options)


def tiny_parts(prediction_type: str = "epsilon") -> dict[str, Any]:
    """The components of a pipeline, the same ones every time."""
    tokenizer = tiny_tokenizer()
    blocks = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {
            "tokenizer": tokenizer,
            "text_encoder": CLIPTextModel(tiny_text_config(tokenizer, eos_token_id=tokenizer.eos_token_id)),
            "vae": tiny_vae(),
            "unet": tiny_unet(**blocks),
            "scheduler": PNDMScheduler(skip_prk_steps=True, prediction_type=prediction_type, **NOISE),
        }


def tiny_pipeline(folder: Path, prediction_type: str = "epsilon") -> Path:
    """Save a whole pipeline with diffusers' own writer; returns the folder."""
    StableDiffusionPipeline(**tiny_parts(prediction_type), **NO_SAFETY_CHECKER).save_pretrained(folder)
    return folder


def tiny_model(folder: Path) -> LatentDiffusion:
    """The tiny pipeline through tinv's own loader."""
    return load(str(tiny_pipeline(folder)))


def tiny_images(folder: Path, count: int = 3) -> Path:
    """Write small images, none of them square or symmetrical; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        image = Image.new("RGB", (48, 40), (40 * i, 90, 160))
        ImageDraw.Draw(image).ellipse((4 + 4 * i, 6, 20 + 4 * i, 30), fill=(240, 200 - 30 * i, 30))
        image.save(folder / f"{i}.png")
    return folder


def tiny_module(
    model: LatentDiffusion, *, concept: Concept | None = None, seed: int = 0, **options: Any
) -> TextualInversion:
    """A module over a tiny model; `options` are the module's other arguments, or embedding settings."""
    names = "optimizer scheduler loss scale_lr merge_batches extra_concepts timestep_sampler regularizer resume_data"
    defaults = {"optimizer": ADAM, "scheduler": get_constant_schedule, "loss": DiffusionLoss()}
    arguments = defaults | {name: options.pop(name) for name in names.split() if name in options}
    embedding = EmbeddingConfig(**options)
    return TextualInversion(model=model, concept=concept or CAT, embedding=embedding, seed=seed, **arguments)


def tiny_data(
    folder: Path, model: LatentDiffusion, *, concept: Concept | None = None, seed: int = 0, **options: Any
) -> ConceptDataModule:
    """A datamodule over three tiny images, encoded and ready for fit."""
    settings = {"batch_size": 2, "val_draws": 4} | options
    data = ConceptDataModule(concept=concept or CAT, seed=seed, folder=str(tiny_images(folder)), **settings)
    data.encode_images(model.encode_images, resolution=model.resolution)
    return data


def tiny_trainer(**options: Any) -> Trainer:
    """Four steps on the CPU with nothing written and nothing printed; `options` are Lightning's own."""
    quiet = ("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar", "use_distributed_sampler")
    settings = {
        "accelerator": "cpu",
        "max_steps": 4,
        "num_sanity_val_steps": 0,
        "val_check_interval": 4,
        "check_val_every_n_epoch": None,
    }
    return Trainer(**settings | dict.fromkeys(quiet, False) | options)


def fit(module: TextualInversion, data: Any, max_steps: int = 4, resume: Path | None = None, **options: Any) -> Trainer:
    """Train a module; `options` are the trainer's. Returns the trainer."""
    trainer = tiny_trainer(max_steps=max_steps, **options)
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    return trainer


def weights(module: TextualInversion) -> nn.Parameter:
    """The trained parameter [K, D] of the first token."""
    return module.learned_tokens[0].embedding.weights["clip_l"]


def exported(module: TextualInversion) -> Tensor:
    """The exported vectors [K, D] of the first token."""
    return module.export_vectors()[module.learned_tokens[0].placeholder_token]["clip_l"]


def gradient(module: TextualInversion, batch: Batch) -> tuple[Tensor, Tensor]:
    """The losses [B] of a batch, and the gradient [K, D] of their mean."""
    losses = module.losses(batch)
    return losses.detach(), torch.autograd.grad(losses.mean(), weights(module))[0]
