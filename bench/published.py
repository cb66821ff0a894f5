"""The parts of Stable Diffusion as their repositories publish them: enough to build the same shapes, weights aside.

Read from stable-diffusion-v1-5 and stable-diffusion-xl-base-1.0; what is left out has the library's default there.
"""

from typing import Any

Configs = dict[str, dict[str, Any]]

_SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "clip_sample": False,
    "steps_offset": 1,
}
_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
}
_CLIP_L = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}

SD15: Configs = {
    "unet": {
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
        "layers_per_block": 2,
        "attention_head_dim": 8,
        "cross_attention_dim": 768,
    },
    "vae": {**_VAE, "sample_size": 512, "scaling_factor": 0.18215},
    "text_encoder": _CLIP_L,
    "scheduler": _SCHEDULER,
}

SDXL: Configs = {
    "unet": {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 2),
        "up_block_types": (*("CrossAttnUpBlock2D",) * 2, "UpBlock2D"),
        "layers_per_block": 2,
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
    "vae": {**_VAE, "sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
    "text_encoder": _CLIP_L,
    "text_encoder_2": {
        **_CLIP_L,
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "projection_dim": 1280,
        "hidden_act": "gelu",
    },
    "scheduler": _SCHEDULER,
}

HUNDREDTH: Configs = {  # 27.6 GFLOP a sample where Stable Diffusion 1.5 has 2813, in like shares; its vocabulary whole
    "unet": {
        **SD15["unet"],
        "sample_size": 16,
        "block_out_channels": (160, 256, 384, 384),
        "cross_attention_dim": 256,
    },
    "vae": {**SD15["vae"], "sample_size": 128, "block_out_channels": (64, 96, 128, 128)},
    "text_encoder": {**_CLIP_L, "hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 4},
    "scheduler": _SCHEDULER,
}

_SMALL_CLIP = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_SMALL_VAE = {"block_out_channels": (32,) * 4, "layers_per_block": 1}
SMALLER: dict[str, Configs] = {  # what to change so that a laptop can try the benchmark itself
    "sd15": {
        "unet": {"sample_size": 8, "block_out_channels": (32, 32, 64, 64), "cross_attention_dim": 32},
        "vae": {**_SMALL_VAE, "sample_size": 64},
        "text_encoder": _SMALL_CLIP,
    },
    "sdxl": {
        "unet": {
            "sample_size": 8,
            "block_out_channels": (32, 32, 64),
            "attention_head_dim": (2, 2, 4),
            "transformer_layers_per_block": (1, 1, 2),
            "cross_attention_dim": 64,
            "projection_class_embeddings_input_dim": 6 * 256 + 32,
        },
        "vae": {**_SMALL_VAE, "sample_size": 64},
        "text_encoder": _SMALL_CLIP,
        "text_encoder_2": {**_SMALL_CLIP, "projection_dim": 32},
    },
}

SMALLER["hundredth"] = SMALLER["sd15"]
PUBLISHED = {"sd15": SD15, "sdxl": SDXL}
PARAMETERS = {  # of each part as published: a wrong shape would show here
    "sd15": {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480},
    "sdxl": {
        "unet": 2_567_463_684,
        "vae": 83_653_863,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
    },
}


def configs(name: str, *, small: bool = False) -> Configs:
    """The configuration of each part of a model."""
    change = SMALLER[name] if small else {}
    return {part: config | change.get(part, {}) for part, config in {**PUBLISHED, "hundredth": HUNDREDTH}[name].items()}
