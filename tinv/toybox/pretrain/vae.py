"""Stage 5, vae: trains the decoder for the latents of the handwritten encoder (`pca_encoder`)."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from tinv.toybox.pretrain import checkpoint
from tinv.toybox.pretrain.clip import to_pixels
from tinv.toybox.pretrain.muon import build_optimizers
from tinv.toybox.pretrain.pca_encoder import principal_components, write_encoder
from tinv.toybox.pretrain.schedule import generator, learning_rate, set_learning_rate
from tinv.toybox.pretrain.settings import VaeSettings

EXAMPLES = 2000
"""Number of images for the principal components."""


def new_vae(images: Tensor, settings: VaeSettings) -> AutoencoderKL:
    """Returns a VAE with the finished encoder and an untrained decoder.

    Args:
        images: [N, 3, 64, 64] uint8, to compute the components and the scaling factor from.
        settings: sizes.
    """
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=settings.widths,
        layers_per_block=1,
        latent_channels=settings.latent_channels,
        norm_num_groups=2,
        sample_size=64,
        mid_block_add_attention=False,
    )
    examples = to_pixels(images[:EXAMPLES])
    write_encoder(vae, principal_components(examples, settings.latent_channels))
    with torch.no_grad():
        deviation = vae.encode(examples[:500]).latent_dist.mean.std()
    vae.register_to_config(scaling_factor=float(1 / deviation))
    return vae


def edges(images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the differences between neighboring pixels, vertical and horizontal."""
    return images[..., 1:, :] - images[..., :-1, :], images[..., :, 1:] - images[..., :, :-1]


def repaint_loss(painted: Tensor, images: Tensor) -> Tensor:
    """Returns the absolute and squared error plus the error of edges at two scales, which keeps outlines sharp."""
    loss = (painted - images).abs().mean() + 0.5 * (painted - images).square().mean()
    for scale in (1, 2):
        ours, theirs = functional.avg_pool2d(painted, scale), functional.avg_pool2d(images, scale)
        pairs = zip(edges(ours), edges(theirs), strict=True)
        loss = loss + 0.25 * torch.stack([(a - b).abs().mean() for a, b in pairs]).sum()
    return loss


def psnr(painted: Tensor, images: Tensor) -> Tensor:
    """Returns the peak signal-to-noise ratio [B] in dB of images in [-1, 1]."""
    return -10 * torch.log10((painted.clamp(-1, 1) - images).square().mean((1, 2, 3)) / 4)


def train_vae(out: Path, images: Tensor, settings: VaeSettings) -> None:
    """Trains the decoder into `out/vae`.

    Args:
        out: the folder of the pretraining.
        images: [N, 3, 64, 64] uint8.
        settings: size and length.
    """
    if (out / "vae").exists():
        return
    torch.manual_seed(settings.seed)
    device = settings.device
    vae = start_vae(out, images, settings).to(device)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    vae.post_quant_conv.requires_grad_(False)
    optimizers = build_optimizers(vae.decoder, muon_rate=settings.muon_rate, rate=settings.rate)
    average = checkpoint.Average(vae.decoder, 0.998)
    steps, step = settings.samples // settings.batch, 0
    state = checkpoint.load(out / "vae.pt")
    if state is not None:
        vae.decoder.load_state_dict(state["decoder"])
        average.restore(state["average"])
        for optimizer, saved in zip(optimizers, state["tools"], strict=True):
            optimizer.load_state_dict(saved)
        step = state["step"]
    recent: list[float] = []
    while step < steps:
        for optimizer in optimizers:
            set_learning_rate(optimizer, learning_rate(step, steps, 1.0, decay=settings.decay))
        rng = generator(settings.seed, step)
        chosen = torch.randint(0, len(images), (settings.batch,), generator=rng)
        batch = to_pixels(images[chosen]).to(device)
        with torch.no_grad():
            posterior = vae.encode(batch).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=rng).to(device)
        painted = vae.decode(posterior.mean + posterior.std * noise).sample
        loss = repaint_loss(painted, batch)
        vae.decoder.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        average.update(step)
        step += 1
        recent.append(psnr(painted.detach(), batch).mean().item())
        if step % 50 == 0:
            print(f"vae: step {step}/{steps}, {np.mean(recent[-50:]):.2f} dB", flush=True)
        if step % settings.checkpoint_every == 0 or step == settings.stop_at:
            state = {
                "decoder": vae.decoder.state_dict(),
                "average": average.state(),
                "tools": [optimizer.state_dict() for optimizer in optimizers],
                "step": step,
            }
            checkpoint.save(out / "vae.pt", state)
        if step == settings.stop_at:
            return
    average.swap()
    partial = out / "vae.part"
    vae.save_pretrained(partial)
    partial.rename(out / "vae")
    checkpoint.write_json(out / "vae.json", {"samples": steps * settings.batch})


def start_vae(out: Path, images: Tensor, settings: VaeSettings) -> AutoencoderKL:
    """Returns the VAE with its finished encoder, from `out/vae_start`, which is written if missing."""
    folder = out / "vae_start"
    if not folder.exists():
        partial = out / "vae_start.part"
        new_vae(images, settings).save_pretrained(partial)
        partial.rename(folder)
    return AutoencoderKL.from_pretrained(folder)
