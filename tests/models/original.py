"""The layout of the original programs (CompVis, Stability): a pipeline's weights under their names in a single file.

Written from the programs' own module trees, independently of the conversion in diffusers.
"""

from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

State = dict[str, Tensor]

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.attentions.0": "middle_block.1",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def unet(model: Any) -> State:
    """The layers of all blocks are numbered through: input_blocks.1, 2, 3 ...; layers of one step share a number."""
    layers, state = model.config.layers_per_block, model.state_dict()
    blocks, renamed = len(model.config.block_out_channels), {}
    for name, tensor in state.items():
        for ours, theirs in _UNET.items():
            if name.startswith(f"{ours}."):
                renamed[name.replace(ours, theirs, 1)] = tensor
    for j in (0, 1):
        renamed |= _rename(_below(state, f"mid_block.resnets.{j}."), f"middle_block.{2 * j}.", _RESNET)
    number = 1
    for i in range(blocks):
        for j in range(layers):
            new, old = f"input_blocks.{number}", f"down_blocks.{i}"
            renamed |= _rename(_below(state, f"{old}.resnets.{j}."), f"{new}.0.", _RESNET)
            renamed |= _prefixed(_below(state, f"{old}.attentions.{j}."), f"{new}.1.")
            number += 1
        if sampler := _below(state, f"down_blocks.{i}.downsamplers.0.conv."):
            renamed |= _prefixed(sampler, f"input_blocks.{number}.0.op.")
            number += 1
    number = 0
    for i in range(blocks):
        for j in range(layers + 1):
            new, old = f"output_blocks.{number}", f"up_blocks.{i}"
            renamed |= _rename(_below(state, f"{old}.resnets.{j}."), f"{new}.0.", _RESNET)
            renamed |= _prefixed(attention := _below(state, f"{old}.attentions.{j}."), f"{new}.1.")
            if j == layers:
                sampler = _below(state, f"{old}.upsamplers.0.conv.")
                renamed |= _prefixed(sampler, f"{new}.{2 if attention else 1}.conv.")
            number += 1
    assert len(renamed) == len(state)
    return renamed


def vae(model: Any) -> State:
    """The decoder numbers its blocks from the output; attention consists of 1x1 convolutions."""
    renamed, last = {}, len(model.config.block_out_channels) - 1
    for name, tensor in model.state_dict().items():
        name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        path = name.split(".")
        if len(path) > 2 and path[1] == "down_blocks":
            suffix = ".".join(path[3:]).replace("resnets", "block").replace("downsamplers.0", "downsample")
            name = f"encoder.down.{path[2]}.{suffix}"
        elif len(path) > 2 and path[1] == "up_blocks":
            suffix = ".".join(path[3:]).replace("resnets", "block").replace("upsamplers.0", "upsample")
            name = f"decoder.up.{last - int(path[2])}.{suffix}"
        elif "mid_block.resnets" in name:
            name = f"{path[0]}.mid.block_{int(path[3]) + 1}.{'.'.join(path[4:])}"
        elif "mid_block.attentions" in name:
            inner = ".".join(path[4:-1])
            name = f"{path[0]}.mid.attn_1.{_VAE_ATTENTION[inner]}.{path[-1]}"
            tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        renamed[name] = tensor.contiguous()
    assert len(renamed) == len(model.state_dict())
    return renamed


def hugging_face_text(state: State) -> State:
    """CLIP ViT-L in the names of transformers in 2022, with its buffer of positions."""
    renamed = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in state.items()}
    return renamed | {"text_model.embeddings.position_ids": torch.arange(77)[None]}


def open_clip_text(model: Any, *, dropped_layers: int = 0) -> State:
    """OpenCLIP: queries, keys and values in one matrix, the projection transposed; the file has more layers."""
    state = {name.removeprefix("text_model."): value for name, value in model.state_dict().items()}
    width = model.config.hidden_size
    projection = state.get("text_projection.weight")
    renamed = {
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
        "text_projection": torch.eye(width) if projection is None else projection.T.contiguous(),
        "logit_scale": torch.tensor(4.6),
    }
    layers = model.config.num_hidden_layers
    for i in range(layers + dropped_layers):
        layer = _below(state, f"encoder.layers.{min(i, layers - 1)}.")
        renamed |= _rename(
            {name: value for name, value in layer.items() if "_proj" not in name or "out_proj" in name},
            f"transformer.resblocks.{i}.",
            _OPEN_CLIP,
        )
        for kind in ("weight", "bias"):
            three = [layer[f"self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            renamed[f"transformer.resblocks.{i}.attn.in_proj_{kind}"] = torch.cat(three)
    return renamed


def single_file(name: str, pipeline: DiffusionPipeline, *, ema: bool = False, old_text: bool = False) -> State:
    """All weights of a layout in the names of a single file, with the other tensors of published files.

    `ema` adds the averaged copy of the U-Net, which is ignored; `old_text` leaves out `text_model.` in CLIP ViT-L.
    """
    parts = pipeline.components
    denoiser = unet(parts["unet"])
    state = _prefixed(denoiser, "model.diffusion_model.") | _prefixed(vae(parts["vae"]), "first_stage_model.")
    if ema:
        flat = {f"model_ema.diffusion_model{key.replace('.', '')}": value + 1 for key, value in denoiser.items()}
        state |= flat | {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(1)}
    state |= {"betas": torch.linspace(0, 1, 1000), "alphas_cumprod": torch.linspace(1, 0, 1000)}
    if name == "sd2":
        return state | _prefixed(open_clip_text(parts["text_encoder"], dropped_layers=1), "cond_stage_model.model.")
    text = hugging_face_text(parts["text_encoder"].state_dict())
    if old_text:
        text = {key.removeprefix("text_model."): value for key, value in text.items()}
    if name == "sd1":
        return state | _prefixed(text, "cond_stage_model.transformer.")
    second = open_clip_text(parts["text_encoder_2"])
    state |= _prefixed(text, "conditioner.embedders.0.transformer.")
    return state | _prefixed(second, "conditioner.embedders.1.model.")


def _below(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": tensor.clone() for name, tensor in state.items()}


def _rename(state: State, prefix: str, names: dict[str, str]) -> State:
    renamed = {}
    for name, tensor in state.items():
        ours = next((ours for ours in names if name.startswith(f"{ours}.")), "")
        renamed[prefix + names.get(ours, "") + name.removeprefix(ours)] = tensor
    return renamed
