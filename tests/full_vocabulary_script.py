"""Textual inversion that trains the whole vocabulary, with the flags of diffusers' script that a comparison needs."""

import argparse
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

CAPTIONS = ("a photo of a {}", "a good photo of the {}", "a close up photo of {}")


def parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("pretrained_model_name_or_path", "train_data_dir", "output_dir", "placeholder_token", "lr_scheduler"):
        parser.add_argument(f"--{name}")
    for name in ("max_train_steps", "train_batch_size", "gradient_accumulation_steps", "num_vectors", "resolution"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--initializer_token")
    parser.add_argument("--learning_rate", type=float)
    return parser.parse_known_args()[0]  # other flags make no difference here


def load_pixels(folder: Path, resolution: int) -> Tensor:
    """[N, 3, H, W] in [-1, 1]."""
    images = [Image.open(path).convert("RGB").resize((resolution, resolution)) for path in sorted(folder.iterdir())]
    return torch.from_numpy(np.stack(images, dtype=np.float32) / 127.5 - 1).permute(0, 3, 1, 2)


def main() -> None:
    args = parse_flags()
    torch.manual_seed(0)
    model = args.pretrained_model_name_or_path
    tokenizer = CLIPTokenizer.from_pretrained(model, subfolder="tokenizer")
    encoder = CLIPTextModel.from_pretrained(model, subfolder="text_encoder")
    vae = AutoencoderKL.from_pretrained(model, subfolder="vae")
    unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
    noise_scheduler = DDPMScheduler.from_pretrained(model, subfolder="scheduler")
    (initializer,) = tokenizer(args.initializer_token, add_special_tokens=False).input_ids
    tokens = [args.placeholder_token, *(f"{args.placeholder_token}_{i}" for i in range(1, args.num_vectors))]
    tokenizer.add_tokens(tokens)
    encoder.resize_token_embeddings(len(tokenizer))
    table = encoder.get_input_embeddings().weight
    for module in (encoder, vae, unet):
        module.requires_grad_(False)
    with torch.no_grad():
        table[-args.num_vectors :] = table[initializer]
    frozen, table.requires_grad = table.detach()[: -args.num_vectors].clone(), True
    optimizer = torch.optim.AdamW([table], lr=args.learning_rate, weight_decay=1e-2)
    scheduler = get_scheduler(args.lr_scheduler, optimizer, num_warmup_steps=1, num_training_steps=args.max_train_steps)
    images = cycle(load_pixels(Path(args.train_data_dir), args.resolution))
    captions = cycle(CAPTIONS)
    for _ in range(args.max_train_steps):
        for _ in range(args.gradient_accumulation_steps):
            pixels = torch.stack(list(islice(images, args.train_batch_size)))
            texts = [text.format(" ".join(tokens)) for text in islice(captions, args.train_batch_size)]
            ids = [tokenizer(text, padding="max_length", truncation=True).input_ids for text in texts]
            x = vae.encode(pixels).latent_dist.sample() * vae.config.scaling_factor
            noise = torch.randn_like(x)
            t = torch.randint(0, noise_scheduler.config.num_train_timesteps, (len(x),))
            hidden = encoder(torch.tensor(ids))[0]
            predicted = unet(noise_scheduler.add_noise(x, noise, t), t, hidden).sample
            (torch.nn.functional.mse_loss(predicted, noise) / args.gradient_accumulation_steps).backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        with torch.no_grad():
            table[: -args.num_vectors] = frozen
    learned = {args.placeholder_token: table.detach()[-args.num_vectors :].clone()}
    Path(args.output_dir).mkdir()
    save_file(learned, Path(args.output_dir) / "learned_embeds.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
