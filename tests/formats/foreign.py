"""Files as other programs write them, made by hand from their layouts; nothing here comes from our writers."""

import base64
import json
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file
from torch import Tensor


def rows(width: int, count: int = 2, seed: int = 0) -> Tensor:
    """Vectors [count, width] of the size that CLIP's have."""
    return 0.03 * torch.randn(count, width, generator=torch.Generator().manual_seed(seed + width))


L, H, G, T5 = rows(768), rows(1024), rows(1280), rows(4096)


@dataclass(frozen=True)
class Foreign:
    """A file, and what must be read from it."""

    path: Path
    words: dict[str, dict[str, Tensor]]
    provenance: dict[str, str] = field(default_factory=dict)


def saved(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path, metadata=metadata)
    return path


def pickled(path: Path, thing: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(thing, path, **options)
    return path


def a1111_tree(vectors: Any, **changes: Any) -> dict[str, Any]:
    tree = {"string_to_token": {"*": 265}, "string_to_param": vectors, "name": "cat-toy", "step": 1500}
    return tree | {"sd_checkpoint": "cc6cb27103", "sd_checkpoint_name": "v1-5-pruned"} | changes


A1111_TEXTS = {"steps": "1500", "sd_checkpoint": "cc6cb27103", "sd_checkpoint_name": "v1-5-pruned"}


def old_parameter_dict(vectors: dict[str, Tensor]) -> torch.nn.Module:
    """An `nn.ParameterDict` as torch 1.10 pickled it: the parameters in `_parameters`."""
    found = torch.nn.ParameterDict()
    found.__dict__["_parameters"] = OrderedDict((name, torch.nn.Parameter(rows)) for name, rows in vectors.items())
    found.__dict__.pop("_keys", None)
    return found


def picture(path: Path, tree: dict[str, Any], *, text: bool, pixels: bool, height: int = 96) -> Path:
    """A picture of AUTOMATIC1111's web UI, packed number by number as its format is described."""
    words = json.dumps(tree, default=lambda tensor: {"TORCHTENSOR": tensor.tolist()}).encode()
    shown = np.random.default_rng(0).integers(1, 256, (height, 40, 3), dtype=np.uint8)
    if pixels:
        packed = zlib.compress(words, 9)
        size = len(packed) + 3 * height - len(packed) % (3 * height)
        blocks = []
        for halves in ([byte & 15 for byte in packed], [byte >> 4 for byte in packed]):
            state, veiled = 0, []
            for i in range(size):
                state = (1664525 * state + 1013904223) % 2**32
                veiled.append(halves[i % len(halves)] ^ (state % 255 & 15) | 16 * (i % 15 + 1))
            blocks.append(np.array(veiled, np.uint8).reshape(height, -1, 3))
        black = np.zeros((height, 1, 3), np.uint8)
        shown = np.concatenate([blocks[0], black, shown, black, blocks[1]], axis=1)
    info = PngInfo()
    if text:
        info.add_text("sd-ti-embedding", base64.b64encode(words).decode())
    options = {"lossless": True} if path.suffix == ".webp" else {"pnginfo": info} if path.suffix == ".png" else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(shown).save(path, **options)
    return path


def diffusers(folder: Path) -> Foreign:
    return Foreign(saved(folder / "x.safetensors", {"<cat-toy>": L}, {"format": "pt"}), {"<cat-toy>": {"clip_l": L}})


def diffusers_sd2(folder: Path) -> Foreign:
    return Foreign(saved(folder / "x.safetensors", {"<cat-toy>": H}), {"<cat-toy>": {"clip_h": H}})


def diffusers_half(folder: Path) -> Foreign:
    return Foreign(saved(folder / "x.safetensors", {"<c>": L.bfloat16()}), {"<c>": {"clip_l": L.bfloat16().float()}})


def diffusers_bin(folder: Path) -> Foreign:
    return Foreign(pickled(folder / "learned_embeds.bin", {"<cat-toy>": L}), {"<cat-toy>": {"clip_l": L}})


def concepts_library(folder: Path) -> Foreign:
    file = pickled(folder / "learned_embeds.bin", {"<cat-toy>": L[0].clone()})
    (folder / "token_identifier.txt").write_text("<cat-toy>")
    (folder / "type_of_concept.txt").write_text("object")
    return Foreign(file.parent, {"<cat-toy>": {"clip_l": L[:1]}})


def whole_matrix(folder: Path) -> Foreign:
    """As diffusers writes it on the CPU: a view of two rows, and the whole vocabulary in the file."""
    table = torch.cat([rows(768, 500, seed=9), L])
    return Foreign(pickled(folder / "learned_embeds.bin", {"<cat-toy>": table[500:]}), {"<cat-toy>": {"clip_l": L}})


def several(folder: Path) -> Foreign:
    other = rows(768, 3, seed=5)
    words = {"<cat>": {"clip_l": L}, "<dog>": {"clip_l": other}}
    return Foreign(saved(folder / "x.safetensors", {"<cat>": L, "<dog>": other}), words)


def a1111(folder: Path) -> Foreign:
    vectors = {"*": L.clone().requires_grad_()}
    return Foreign(pickled(folder / "any.pt", a1111_tree(vectors)), {"cat-toy": {"clip_l": L}}, A1111_TEXTS)


def a1111_unnamed(folder: Path) -> Foreign:
    tree = a1111_tree({"*": L}, name=None, step=None, sd_checkpoint=None, sd_checkpoint_name=None)
    return Foreign(pickled(folder / "my cat.pt", tree), {"my-cat": {"clip_l": L}})


def a1111_legacy(folder: Path) -> Foreign:
    file = pickled(folder / "any.pt", a1111_tree({"*": L}), _use_new_zipfile_serialization=False)
    return Foreign(file, {"cat-toy": {"clip_l": L}}, A1111_TEXTS)


def a1111_parameters(folder: Path) -> Foreign:
    file = pickled(folder / "any.pt", a1111_tree(old_parameter_dict({"*": L})))
    return Foreign(file, {"cat-toy": {"clip_l": L}}, A1111_TEXTS)


def a1111_sdxl(folder: Path) -> Foreign:
    return Foreign(pickled(folder / "cat-toy.pt", {"clip_l": L, "clip_g": G}), {"cat-toy": {"clip_l": L, "clip_g": G}})


def rinongal(folder: Path) -> Foreign:
    vectors, tokens = {"*": L, "<dog>": rows(768, seed=3)}, {"*": torch.tensor(265), "<dog>": torch.tensor(266)}
    tree = {"string_to_token": tokens, "string_to_param": old_parameter_dict(vectors)}
    words = {"embeddings": {"clip_l": L}, "<dog>": {"clip_l": vectors["<dog>"]}}
    return Foreign(pickled(folder / "embeddings.pt", tree), words)


def kohya(folder: Path) -> Foreign:
    metadata = {"modelspec.title": "last", "modelspec.author": "me"}
    return Foreign(
        saved(folder / "cat-toy.safetensors", {"emb_params": L}, metadata), {"cat-toy": {"clip_l": L}}, metadata
    )


def kohya_ckpt(folder: Path) -> Foreign:
    return Foreign(pickled(folder / "cat-toy.ckpt", {"emb_params": H}), {"cat-toy": {"clip_h": H}})


def ai_toolkit(folder: Path) -> Foreign:
    copies = {"string_to_token": '{"*": 265}', "string_to_param": json.dumps({"*": L.tolist()})}
    metadata = {"name": '"p3r5on"', "step": "100", "format": "pt", **copies}
    file = saved(folder / "x_000100.safetensors", {"emb_params": L}, metadata)
    return Foreign(file, {"p3r5on": {"clip_l": L}}, {"name": '"p3r5on"', "steps": "100"})


def sdxl(folder: Path) -> Foreign:
    file = saved(folder / "cat-toy.safetensors", {"clip_g": G, "clip_l": L})
    return Foreign(file, {"cat-toy": {"clip_l": L, "clip_g": G}})


def diffusers_pair(folder: Path) -> Foreign:
    file = saved(folder / "learned_embeds.safetensors", {"<cat-toy>": L}, {"format": "pt"})
    saved(folder / "learned_embeds_2.safetensors", {"<cat-toy>": G.bfloat16()}, {"format": "pt"})
    return Foreign(file, {"<cat-toy>": {"clip_l": L, "clip_g": G.bfloat16().float()}})


def onetrainer(folder: Path) -> Foreign:
    return Foreign(saved(folder / "cat-toy.safetensors", {"emp_params": L}), {"cat-toy": {"clip_l": L}})


def onetrainer_both(folder: Path) -> Foreign:
    tensors = {"clip_l": L, "clip_g": 0 * G, "clip_g_out": G}
    return Foreign(saved(folder / "cat-toy.safetensors", tensors), {"cat-toy": {"clip_l": L}})


def onetrainer_sd3(folder: Path) -> Foreign:
    file = saved(folder / "cat-toy.safetensors", {"clip_l": L, "clip_g": G, "t5": T5})
    return Foreign(file, {"cat-toy": {"clip_l": L, "clip_g": G, "t5": T5}})


def onetrainer_hunyuan(folder: Path) -> Foreign:
    file = saved(folder / "cat-toy.safetensors", {"llama": T5, "clip_l": L})
    return Foreign(file, {"cat-toy": {"llama": T5, "clip_l": L}})


def onetrainer_sana(folder: Path) -> Foreign:
    return Foreign(saved(folder / "x.safetensors", {"gemma": rows(2304)}), {"x": {"gemma": rows(2304)}})


def comfy_flux(folder: Path) -> Foreign:
    return Foreign(saved(folder / "x.safetensors", {"clip_l": L, "t5xxl": T5}), {"x": {"clip_l": L, "t5": T5}})


def png_text(folder: Path) -> Foreign:
    file = picture(folder / "any.png", a1111_tree({"*": L}), text=True, pixels=False)
    return Foreign(file, {"cat-toy": {"clip_l": L}}, A1111_TEXTS)


def png_pixels(folder: Path) -> Foreign:
    file = picture(folder / "any.png", a1111_tree({"*": L}), text=False, pixels=True)
    return Foreign(file, {"cat-toy": {"clip_l": L}}, A1111_TEXTS)


def webp_pixels(folder: Path) -> Foreign:
    file = picture(folder / "any.webp", a1111_tree({"*": H}), text=False, pixels=True)
    return Foreign(file, {"cat-toy": {"clip_h": H}}, A1111_TEXTS)


def png_sdxl(folder: Path) -> Foreign:
    file = picture(folder / "cat-toy.png", {"clip_l": L, "clip_g": G}, text=True, pixels=True)
    return Foreign(file, {"cat-toy": {"clip_l": L, "clip_g": G}})


def bundled(folder: Path) -> Foreign:
    other = rows(768, 3, seed=5)
    tensors = {
        "lora_unet_mid.lora_up.weight": torch.ones(4, 4),
        "bundle_emb.cat.string_to_param.*": L,
        "bundle_emb.dog.clip_l": other,
        "bundle_emb.dog.clip_g": rows(1280, 3),
    }
    words = {"cat": {"clip_l": L}, "dog": {"clip_l": other, "clip_g": rows(1280, 3)}}
    return Foreign(saved(folder / "lora.safetensors", tensors), words)


def ai_toolkit_lora(folder: Path) -> Foreign:
    tensors = {f"lora_unet_{i}.lora_up.weight": torch.ones(2, 2) for i in range(99)} | {"emb_params": L}
    return Foreign(saved(folder / "cat-toy.safetensors", tensors), {"cat-toy": {"clip_l": L}})


def cog_sdxl(folder: Path) -> Foreign:
    file = saved(folder / "embeddings.pti", {"text_encoders_0": L, "text_encoders_1": G})
    (folder / "special_params.json").write_text('{"TOK": "<s0><s1>"}')
    saved(folder / "lora.safetensors", {"unet.lora_up.weight": torch.ones(2, 2)})
    return Foreign(file.parent, {"TOK": {"clip_l": L, "clip_g": G}})


def safelora(folder: Path) -> Foreign:
    tensors = {"unet:0:up": torch.ones(2, 2), "unet:0:down": torch.ones(2, 2), "<s1>": L[0], "<s2>": L[1]}
    file = saved(folder / "x.safetensors", tensors, {"<s1>": "<embed>", "<s2>": "<embed>", "unet": "[]"})
    return Foreign(file, {"<s1>": {"clip_l": L[:1]}, "<s2>": {"clip_l": L[1:]}})


def hcp(folder: Path) -> Foreign:
    both = torch.cat([L, G], dim=1)
    tree = {"string_to_param": {"*": both}, "name": "pt-cat"}
    return Foreign(pickled(folder / "pt-cat.pt", tree), {"pt-cat": {"clip_l": L, "clip_g": G}})


def stacked(folder: Path) -> Foreign:
    return Foreign(pickled(folder / "x.pt", [{"cat": L}, {"cat": G}]), {"cat": {"clip_l": L, "clip_g": G}})


FILES: tuple[Callable[[Path], Foreign], ...] = (
    diffusers,
    diffusers_sd2,
    diffusers_half,
    diffusers_bin,
    concepts_library,
    whole_matrix,
    several,
    a1111,
    a1111_unnamed,
    a1111_legacy,
    a1111_parameters,
    a1111_sdxl,
    rinongal,
    kohya,
    kohya_ckpt,
    ai_toolkit,
    sdxl,
    diffusers_pair,
    onetrainer,
    onetrainer_both,
    onetrainer_sd3,
    onetrainer_hunyuan,
    onetrainer_sana,
    comfy_flux,
    png_text,
    png_pixels,
    webp_pixels,
    png_sdxl,
    bundled,
    ai_toolkit_lora,
    cog_sdxl,
    safelora,
    hcp,
    stacked,
)
