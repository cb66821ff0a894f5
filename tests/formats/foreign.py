"""Files as other programs write them, built by hand from their layouts and without our writers."""

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
    """Returns vectors [count, width] with norms similar to CLIP's."""
    return 0.03 * torch.randn(count, width, generator=torch.Generator().manual_seed(seed + width))


L, H, G, T5 = rows(768), rows(1024), rows(1280), rows(4096)


@dataclass(frozen=True)
class ForeignFile:
    """A file, and what must be read from it."""

    path: Path
    vectors: dict[str, dict[str, Tensor]]
    provenance: dict[str, str] = field(default_factory=dict)


def saved(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path, metadata=metadata)
    return path


def pickled(path: Path, value: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, path, **options)
    return path


def a1111_tree(vectors: Any, **changes: Any) -> dict[str, Any]:
    tree = {"string_to_token": {"*": 265}, "string_to_param": vectors, "name": "cat-toy", "step": 1500}
    return tree | {"sd_checkpoint": "cc6cb27103", "sd_checkpoint_name": "v1-5-pruned"} | changes


A1111_TEXTS = {"steps": "1500", "sd_checkpoint": "cc6cb27103", "sd_checkpoint_name": "v1-5-pruned"}


def legacy_parameter_dict(vectors: dict[str, Tensor]) -> torch.nn.Module:
    """Returns an `nn.ParameterDict` as torch 1.10 pickled it: the parameters in `_parameters`."""
    module = torch.nn.ParameterDict()
    module.__dict__["_parameters"] = OrderedDict((name, torch.nn.Parameter(v_KD)) for name, v_KD in vectors.items())
    module.__dict__.pop("_keys", None)
    return module


def image_blocks(text: bytes, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the two blocks [height, W, 3] that hold a text, number by number as the format is described."""
    packed = zlib.compress(text, 9)
    size = len(packed) + 3 * height - len(packed) % (3 * height)
    blocks = []
    for halves in ([byte & 15 for byte in packed], [byte >> 4 for byte in packed]):
        state, values = 0, []
        for i in range(size):
            state = (1664525 * state + 1013904223) % 2**32
            values.append(halves[i % len(halves)] ^ (state % 255 & 15) | 16 * (i % 15 + 1))
        blocks.append(np.array(values, np.uint8).reshape(height, -1, 3))
    return blocks[0], blocks[1]


def embedding_image(path: Path, tree: dict[str, Any], *, text: bool, pixels: bool, height: int = 96) -> Path:
    """Writes an image embedding of AUTOMATIC1111's web UI."""
    content = json.dumps(tree, default=lambda tensor: {"TORCHTENSOR": tensor.tolist()}).encode()
    image = np.random.default_rng(0).integers(1, 256, (height, 40, 3), dtype=np.uint8)
    if pixels:
        low, high = image_blocks(content, height)
        black = np.zeros((height, 1, 3), np.uint8)
        image = np.concatenate([low, black, image, black, high], axis=1)
    info = PngInfo()
    if text:
        info.add_text("sd-ti-embedding", base64.b64encode(content).decode())
    options = {"lossless": True} if path.suffix == ".webp" else {"pnginfo": info} if path.suffix == ".png" else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def diffusers(folder: Path) -> ForeignFile:
    return ForeignFile(
        saved(folder / "x.safetensors", {"<cat-toy>": L}, {"format": "pt"}), {"<cat-toy>": {"clip_l": L}}
    )


def diffusers_sd2(folder: Path) -> ForeignFile:
    return ForeignFile(saved(folder / "x.safetensors", {"<cat-toy>": H}), {"<cat-toy>": {"clip_h": H}})


def diffusers_half(folder: Path) -> ForeignFile:
    return ForeignFile(
        saved(folder / "x.safetensors", {"<c>": L.bfloat16()}), {"<c>": {"clip_l": L.bfloat16().float()}}
    )


def diffusers_bin(folder: Path) -> ForeignFile:
    return ForeignFile(pickled(folder / "learned_embeds.bin", {"<cat-toy>": L}), {"<cat-toy>": {"clip_l": L}})


def concepts_library(folder: Path) -> ForeignFile:
    file = pickled(folder / "learned_embeds.bin", {"<cat-toy>": L[0].clone()})
    (folder / "token_identifier.txt").write_text("<cat-toy>")
    (folder / "type_of_concept.txt").write_text("object")
    return ForeignFile(file.parent, {"<cat-toy>": {"clip_l": L[:1]}})


def bin_with_vocabulary(folder: Path) -> ForeignFile:
    """As diffusers writes it on the CPU: a view of two rows, with the whole vocabulary in the file."""
    table = torch.cat([rows(768, 500, seed=9), L])
    return ForeignFile(pickled(folder / "learned_embeds.bin", {"<cat-toy>": table[500:]}), {"<cat-toy>": {"clip_l": L}})


def two_tokens(folder: Path) -> ForeignFile:
    other = rows(768, 3, seed=5)
    by_token = {"<cat>": {"clip_l": L}, "<dog>": {"clip_l": other}}
    return ForeignFile(saved(folder / "x.safetensors", {"<cat>": L, "<dog>": other}), by_token)


def a1111(folder: Path) -> ForeignFile:
    vectors = {"*": L.clone().requires_grad_()}
    return ForeignFile(pickled(folder / "any.pt", a1111_tree(vectors)), {"cat-toy": {"clip_l": L}}, A1111_TEXTS)


def a1111_unnamed(folder: Path) -> ForeignFile:
    tree = a1111_tree({"*": L}, name=None, step=None, sd_checkpoint=None, sd_checkpoint_name=None)
    return ForeignFile(pickled(folder / "my cat.pt", tree), {"my-cat": {"clip_l": L}})


def a1111_legacy(folder: Path) -> ForeignFile:
    file = pickled(folder / "any.pt", a1111_tree({"*": L}), _use_new_zipfile_serialization=False)
    return ForeignFile(file, {"cat-toy": {"clip_l": L}}, A1111_TEXTS)


def a1111_parameters(folder: Path) -> ForeignFile:
    file = pickled(folder / "any.pt", a1111_tree(legacy_parameter_dict({"*": L})))
    return ForeignFile(file, {"cat-toy": {"clip_l": L}}, A1111_TEXTS)


def a1111_sdxl(folder: Path) -> ForeignFile:
    return ForeignFile(
        pickled(folder / "cat-toy.pt", {"clip_l": L, "clip_g": G}), {"cat-toy": {"clip_l": L, "clip_g": G}}
    )


def rinongal(folder: Path) -> ForeignFile:
    vectors, tokens = {"*": L, "<dog>": rows(768, seed=3)}, {"*": torch.tensor(265), "<dog>": torch.tensor(266)}
    tree = {"string_to_token": tokens, "string_to_param": legacy_parameter_dict(vectors)}
    by_token = {"embeddings": {"clip_l": L}, "<dog>": {"clip_l": vectors["<dog>"]}}
    return ForeignFile(pickled(folder / "embeddings.pt", tree), by_token)


def kohya(folder: Path) -> ForeignFile:
    metadata = {"modelspec.title": "last", "modelspec.author": "me"}
    return ForeignFile(
        saved(folder / "cat-toy.safetensors", {"emb_params": L}, metadata), {"cat-toy": {"clip_l": L}}, metadata
    )


def kohya_ckpt(folder: Path) -> ForeignFile:
    return ForeignFile(pickled(folder / "cat-toy.ckpt", {"emb_params": H}), {"cat-toy": {"clip_h": H}})


def ai_toolkit(folder: Path) -> ForeignFile:
    copies = {"string_to_token": '{"*": 265}', "string_to_param": json.dumps({"*": L.tolist()})}
    metadata = {"name": '"p3r5on"', "step": "100", "format": "pt", **copies}
    file = saved(folder / "x_000100.safetensors", {"emb_params": L}, metadata)
    return ForeignFile(file, {"p3r5on": {"clip_l": L}}, {"name": '"p3r5on"', "steps": "100"})


def sdxl(folder: Path) -> ForeignFile:
    file = saved(folder / "cat-toy.safetensors", {"clip_g": G, "clip_l": L})
    return ForeignFile(file, {"cat-toy": {"clip_l": L, "clip_g": G}})


def diffusers_pair(folder: Path) -> ForeignFile:
    file = saved(folder / "learned_embeds.safetensors", {"<cat-toy>": L}, {"format": "pt"})
    saved(folder / "learned_embeds_2.safetensors", {"<cat-toy>": G.bfloat16()}, {"format": "pt"})
    return ForeignFile(file, {"<cat-toy>": {"clip_l": L, "clip_g": G.bfloat16().float()}})


def onetrainer(folder: Path) -> ForeignFile:
    return ForeignFile(saved(folder / "cat-toy.safetensors", {"emp_params": L}), {"cat-toy": {"clip_l": L}})


def onetrainer_flux(folder: Path) -> ForeignFile:
    file = saved(folder / "cat-toy.safetensors", {"clip_l": L, "t5": T5})
    return ForeignFile(file, {"cat-toy": {"clip_l": L, "t5": T5}})


def onetrainer_chroma(folder: Path) -> ForeignFile:
    return ForeignFile(saved(folder / "cat-toy.safetensors", {"t5": T5}), {"cat-toy": {"t5": T5}})


def onetrainer_output(folder: Path) -> ForeignFile:
    tensors = {"clip_l": L, "clip_g": 0 * G, "clip_g_out": G}
    return ForeignFile(saved(folder / "cat-toy.safetensors", tensors), {"cat-toy": {"clip_l": L}})


def onetrainer_sd3(folder: Path) -> ForeignFile:
    file = saved(folder / "cat-toy.safetensors", {"clip_l": L, "clip_g": G, "t5": T5})
    return ForeignFile(file, {"cat-toy": {"clip_l": L, "clip_g": G, "t5": T5}})


def onetrainer_hunyuan(folder: Path) -> ForeignFile:
    file = saved(folder / "cat-toy.safetensors", {"llama": T5, "clip_l": L})
    return ForeignFile(file, {"cat-toy": {"llama": T5, "clip_l": L}})


def onetrainer_sana(folder: Path) -> ForeignFile:
    return ForeignFile(saved(folder / "x.safetensors", {"gemma": rows(2304)}), {"x": {"gemma": rows(2304)}})


def comfy_flux(folder: Path) -> ForeignFile:
    return ForeignFile(saved(folder / "x.safetensors", {"clip_l": L, "t5xxl": T5}), {"x": {"clip_l": L, "t5": T5}})


def comfy_sd3(folder: Path) -> ForeignFile:
    file = saved(folder / "x.safetensors", {"clip_l": L, "clip_g": G, "t5xxl": T5})
    return ForeignFile(file, {"x": {"clip_l": L, "clip_g": G, "t5": T5}})


def comfy_klein(folder: Path) -> ForeignFile:
    return ForeignFile(saved(folder / "x.safetensors", {"qwen3_4b": rows(2560)}), {"x": {"qwen3": rows(2560)}})


def comfy_klein_9b(folder: Path) -> ForeignFile:
    return ForeignFile(saved(folder / "x.safetensors", {"qwen3_8b": T5}), {"x": {"qwen3": T5}})


def comfy_flux2(folder: Path) -> ForeignFile:
    return ForeignFile(saved(folder / "x.safetensors", {"mistral3_24b": rows(5120)}), {"x": {"mistral3": rows(5120)}})


def comfy_krea2(folder: Path) -> ForeignFile:
    return ForeignFile(saved(folder / "x.safetensors", {"qwen3vl_4b": rows(2560)}), {"x": {"qwen3_vl": rows(2560)}})


def comfy_wan(folder: Path) -> ForeignFile:
    return ForeignFile(saved(folder / "x.safetensors", {"umt5xxl": T5}), {"x": {"umt5": T5}})


def comfy_hunyuan(folder: Path) -> ForeignFile:
    file = saved(folder / "x.safetensors", {"clip_l": L, "llama": T5})
    return ForeignFile(file, {"x": {"clip_l": L, "llama": T5}})


def dti_sana(folder: Path) -> ForeignFile:
    """DTI's `learned_embeds-steps-500.safetensors` has one tensor, named after the token."""
    file = saved(folder / "learned_embeds-steps-500.safetensors", {"<cat>": rows(2304)})
    return ForeignFile(file, {"<cat>": {"gemma": rows(2304)}})


def dti_wan(folder: Path) -> ForeignFile:
    """UMT5 has the width of T5, and the file does not say which it is."""
    return ForeignFile(saved(folder / "learned_embeds.safetensors", {"<cat>": T5}), {"<cat>": {"t5": T5}})


def dti_sd3(folder: Path) -> ForeignFile:
    for suffix, vectors_KD in {"": L, "_2": G, "_3": T5}.items():
        saved(folder / f"learned_embeds{suffix}.safetensors", {"<cat>": vectors_KD}, {"format": "pt"})
    return ForeignFile(folder, {"<cat>": {"clip_l": L, "clip_g": G, "t5": T5}})


def concept_prism_flux(folder: Path) -> ForeignFile:
    """One vector of the target, and one of each of five images."""
    file = pickled(folder / "learned_embeddings.pt", torch.cat([T5[:1], rows(4096, 5, seed=7)]))
    return ForeignFile(file, {"<my_concept>": {"t5": T5[:1]}})


def concept_prism_sd2(folder: Path) -> ForeignFile:
    return ForeignFile(pickled(folder / "learned_embeddings.pt", H[:1].clone()), {"<my_concept>": {"clip_h": H[:1]}})


def png_text(folder: Path) -> ForeignFile:
    file = embedding_image(folder / "any.png", a1111_tree({"*": L}), text=True, pixels=False)
    return ForeignFile(file, {"cat-toy": {"clip_l": L}}, A1111_TEXTS)


def png_pixels(folder: Path) -> ForeignFile:
    file = embedding_image(folder / "any.png", a1111_tree({"*": L}), text=False, pixels=True)
    return ForeignFile(file, {"cat-toy": {"clip_l": L}}, A1111_TEXTS)


def webp_pixels(folder: Path) -> ForeignFile:
    file = embedding_image(folder / "any.webp", a1111_tree({"*": H}), text=False, pixels=True)
    return ForeignFile(file, {"cat-toy": {"clip_h": H}}, A1111_TEXTS)


def png_sdxl(folder: Path) -> ForeignFile:
    file = embedding_image(folder / "cat-toy.png", {"clip_l": L, "clip_g": G}, text=True, pixels=True)
    return ForeignFile(file, {"cat-toy": {"clip_l": L, "clip_g": G}})


def lora_bundle(folder: Path) -> ForeignFile:
    other = rows(768, 3, seed=5)
    tensors = {
        "lora_unet_mid.lora_up.weight": torch.ones(4, 4),
        "bundle_emb.cat.string_to_param.*": L,
        "bundle_emb.dog.clip_l": other,
        "bundle_emb.dog.clip_g": rows(1280, 3),
    }
    by_token = {"cat": {"clip_l": L}, "dog": {"clip_l": other, "clip_g": rows(1280, 3)}}
    return ForeignFile(saved(folder / "lora.safetensors", tensors), by_token)


def ai_toolkit_lora(folder: Path) -> ForeignFile:
    tensors = {f"lora_unet_{i}.lora_up.weight": torch.ones(2, 2) for i in range(99)} | {"emb_params": L}
    return ForeignFile(saved(folder / "cat-toy.safetensors", tensors), {"cat-toy": {"clip_l": L}})


def cog_sdxl(folder: Path) -> ForeignFile:
    file = saved(folder / "embeddings.pti", {"text_encoders_0": L, "text_encoders_1": G})
    (folder / "special_params.json").write_text('{"TOK": "<s0><s1>"}')
    saved(folder / "lora.safetensors", {"unet.lora_up.weight": torch.ones(2, 2)})
    return ForeignFile(file.parent, {"TOK": {"clip_l": L, "clip_g": G}})


def safelora(folder: Path) -> ForeignFile:
    tensors = {"unet:0:up": torch.ones(2, 2), "unet:0:down": torch.ones(2, 2), "<s1>": L[0], "<s2>": L[1]}
    file = saved(folder / "x.safetensors", tensors, {"<s1>": "<embed>", "<s2>": "<embed>", "unet": "[]"})
    return ForeignFile(file, {"<s1>": {"clip_l": L[:1]}, "<s2>": {"clip_l": L[1:]}})


def side_by_side(folder: Path) -> ForeignFile:
    tree = {"string_to_param": {"*": torch.cat([L, G], dim=1)}, "name": "pt-cat"}
    return ForeignFile(pickled(folder / "pt-cat.pt", tree), {"pt-cat": {"clip_l": L, "clip_g": G}})


def list_of_encoders(folder: Path) -> ForeignFile:
    return ForeignFile(pickled(folder / "x.pt", [{"cat": L}, {"cat": G}]), {"cat": {"clip_l": L, "clip_g": G}})


FILES: tuple[Callable[[Path], ForeignFile], ...] = tuple(
    make for make in list(globals().values()) if getattr(make, "__annotations__", {}).get("return") is ForeignFile
)
"""The functions above, each of which writes a file."""
