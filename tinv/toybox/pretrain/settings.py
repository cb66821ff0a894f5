"""The sizes of the models and the lengths of the stages; the defaults are those of the shipped model."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """The settings that all trained stages have."""

    samples: int
    """Number of training samples, with repetitions."""
    batch: int
    rate: float
    """Learning rate of AdamW, for biases, norms and embeddings."""
    muon_rate: float = 0.02
    """Learning rate of Muon, for weight matrices and convolutions."""
    decay: float = 0.3
    """Share of the steps over which the learning rate decays to zero."""
    seed: int = 0
    device: str = "cpu"
    checkpoint_every: int = 200
    """In steps."""
    stop_at: int | None = None
    """Stop after this step with a checkpoint, as if interrupted."""


@dataclass(frozen=True, kw_only=True)
class ClipSettings(StageSettings):
    """The CLIP model."""

    text_width: int = 128
    text_layers: int = 3
    vision_width: int = 128
    vision_layers: int = 5
    patch: int = 8
    projection: int = 128


@dataclass(frozen=True, kw_only=True)
class ImageEncoderSettings(StageSettings):
    """The image encoder, with a frozen text encoder."""

    claims: float = 40.0
    """Weight of the claim loss."""


@dataclass(frozen=True, kw_only=True)
class VaeSettings(StageSettings):
    """The decoder; the encoder is not trained."""

    latent_channels: int = 8
    widths: tuple[int, ...] = (16, 32, 64)


@dataclass(frozen=True, kw_only=True)
class UnetSettings(StageSettings):
    """The denoiser."""

    widths: tuple[int, ...] = (64, 96, 160)
    caption_dropout: float = 0.1
    snr_gamma: float = 5.0


@dataclass(frozen=True, kw_only=True)
class FlowSettings(StageSettings):
    """The flow transformer and its T5 text encoder."""

    decay_samples: int
    """Number of training samples, after the others, over which stage `flow_decay` decays the rate."""
    width: int = 192
    head_width: int = 32
    double_blocks: int = 2
    single_blocks: int = 4
    rope_widths: tuple[int, int, int] = (8, 12, 12)
    """Shares of a head's width for the rotary positions: index of the image, row, column."""
    text_width: int = 128
    text_layers: int = 3
    text_feed_forward: int = 128
    caption_dropout: float = 0.1
    level_mean: float = 0.3
    """Noise levels are sigmoid(N(level_mean, level_std)); a higher mean trains more at high noise."""
    level_std: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of all stages."""

    images: int = 80_000
    processes: int = 2
    clip: ClipSettings = ClipSettings(samples=1_000_000, batch=128, rate=1e-3)
    image_encoder: ImageEncoderSettings = ImageEncoderSettings(samples=160_000, batch=128, rate=5e-4, muon_rate=0.01)
    vae: VaeSettings = VaeSettings(samples=100_000, batch=16, rate=1.5e-3)
    unet: UnetSettings = UnetSettings(samples=1_000_000, batch=96, rate=1e-3, decay=0.2)
    flow: FlowSettings = FlowSettings(
        samples=1_200_000, decay_samples=400_000, batch=96, rate=1e-3, checkpoint_every=100
    )
