"""The rules by which other programs load an embedding file, written from descriptions and without their code.

Each function takes a file and returns what the program would use, or None if it would not load the file.
"""

import base64
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

COMFYUI = {
    "SD 1": {"clip_l": 768},
    "SD 2": {"clip_h": 1024},
    "SDXL": {"clip_l": 768, "clip_g": 1280},
    "SD 3.5": {"clip_l": 768, "clip_g": 1280},
    "Flux.1": {"clip_l": 768, "t5xxl": 4096},
    "Chroma": {"t5xxl": 4096},
    "PixArt-Sigma": {"t5xxl": 4096},
    "Flux.2 dev": {"mistral3_24b": 5120},
    "Flux.2 klein 4B": {"qwen3_4b": 2560},
    "Flux.2 klein 9B": {"qwen3_8b": 4096},
    "HunyuanVideo": {"clip_l": 768, "llama": 4096},
    "HiDream": {"clip_l": 768, "clip_g": 1280, "llama": 4096},
}
"""The tokenizers of each model that get ComfyUI's folder of embeddings: their keys and widths.

comfy/text_encoders at Comfy-Org/ComfyUI faf1e153 (flux.py) and 29ad8b89 (qwen_image.py), comfyanonymous/ComfyUI
2ab88496 (pixart_t5.py), 02f897ca (lumina2.py), 3c67f615 (wan.py), 00855133 (z_image.py), 03c874ec (sd3_clip.py, whose
T5 HiDream shares). The tokenizers of Qwen-Image, Z-Image, Lumina2, Wan and SD 3's T5 get none there, and Sana has none.
"""
ONETRAINER = {
    "SD 1": ("emp_params",),
    "SD 2": ("emp_params",),
    "SDXL": ("clip_l", "clip_g"),
    "SD 3.5": ("clip_l", "clip_g", "t5"),
    "Flux.1": ("clip_l", "t5"),
    "Chroma": ("t5",),
    "PixArt-Sigma": ("t5",),
    "Sana": ("gemma",),
    "HunyuanVideo": ("llama", "clip_l"),
    "HiDream": ("clip_l", "clip_g", "t5", "llama"),
}
"""The keys that OneTrainer looks up, modules/modelSetup/Base*Setup.py at Nerogar/OneTrainer 23df3832."""


def automatic1111(path: Path, model_width: int) -> tuple[str, dict[str, Tensor]] | None:
    """Returns the token and the vectors by key that AUTOMATIC1111 and Forge load into a model of a width."""
    name, suffix = path.stem, path.suffix.lower()
    if path.stat().st_size == 0:
        return None
    if suffix in (".png", ".webp", ".jxl", ".avif"):
        data = _read_image(path)
        if data is None:
            return None
        name = data.get("name", name)
    elif suffix in (".bin", ".pt"):
        data = torch.load(path, weights_only=True)
    elif suffix == ".safetensors":
        data = load_file(path)
    else:
        return None
    if "string_to_param" in data:
        (vectors,) = data["string_to_param"].values()
        loaded, width = {"": vectors}, vectors.shape[-1]
    elif "clip_g" in data and "clip_l" in data:
        loaded = {key: value.detach().float() for key, value in data.items()}
        width = data["clip_g"].shape[-1] + data["clip_l"].shape[-1]
    else:
        (vectors,) = data.values()
        assert isinstance(vectors, Tensor)
        loaded = {"": vectors.unsqueeze(0) if vectors.ndim == 1 else vectors}
        width = vectors.shape[-1]
    return (name, loaded) if width == model_width else None


def onetrainer(path: Path, model: str) -> dict[str, Tensor] | None:
    """Returns the vectors by key that OneTrainer continues to train; it starts anew those of missing keys.

    EmbeddingLoaderMixin.py and Base*Setup.py at Nerogar/OneTrainer 23df3832: torch's container, else safetensors; the
    output vector of an encoder, if there is one, else its vector.
    """
    try:
        data: Any = torch.load(path, weights_only=True)
    except Exception:
        try:
            data = load_file(path)
        except Exception:
            return None
    return {key: data[name] for key in ONETRAINER[model] for name in (f"{key}_out", key) if name in data}


def comfyui(path: Path, key: str, width: int) -> Tensor | None:
    """Returns the vectors that ComfyUI's `embedding:<name>` gives one text encoder.

    `load_embed` in comfy/sd1_clip.py at Comfy-Org/ComfyUI 443393b4; the encoder drops vectors of another width with a
    line in the log.
    """
    if path.suffix not in (".safetensors", ".pt", ".bin"):
        return None
    if path.suffix == ".safetensors":
        data: Any = load_file(path)
    else:
        try:
            data = torch.load(path, weights_only=True)
        except Exception:
            return _first_floats(path)
    if isinstance(data, list):
        fitting = [value for part in data for value in part.values() if value.shape[-1] == width]
        return torch.cat([value.reshape(-1, width) for value in fitting]) if fitting else None
    bundled = [name for name in data if name.startswith("bundle_emb.")]
    if "string_to_param" in data:
        vectors = next(iter(data["string_to_param"].values()))
    elif key in data:
        vectors = data[key]
    elif any(name.endswith((".string_to_param.*", f".{key}")) for name in bundled):
        vectors = next(data[name] for name in bundled if name.endswith((".string_to_param.*", f".{key}")))
    else:
        vectors = next(iter(data.values()))
    return vectors if vectors.shape[-1] == width else None


def invokeai(path: Path) -> dict[str, Tensor] | None:
    """Returns what InvokeAI loads after it has recognized the file and the kind of model it is for."""
    if path.suffix == ".safetensors":
        data: Any = load_file(path)
    elif path.suffix in (".pt", ".bin"):
        data = torch.load(path, weights_only=True)
    else:
        return None
    is_known = any(key in data for key in ("string_to_param", "emb_params", "clip_g"))
    if not is_known and not (len(data) < 10 and all(isinstance(value, Tensor) for value in data.values())):
        return None
    if "string_to_token" in data:
        width = next(iter(data["string_to_param"].values())).shape[-1]
    elif "emb_params" in data:
        width = data["emb_params"].shape[-1]
    elif "clip_g" in data:
        width = data["clip_g"].shape[-1]
    else:
        width = next(iter(data.values())).shape[0]
    if width not in (768, 1024, 1280):
        return None
    if "string_to_param" in data:
        return {"": next(iter(data["string_to_param"].values()))}
    if "emb_params" in data:
        return {"": data["emb_params"]}
    if "clip_g" in data and "clip_l" in data:
        return {"clip_l": data["clip_l"], "clip_g": data["clip_g"]}
    return {"": next(iter(data.values()))}


def _first_floats(path: Path) -> Tensor | None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if "data/" in name:
                numbers = torch.frombuffer(bytearray(archive.read(name)), dtype=torch.float32)
                if len(numbers) >= 768:
                    return numbers.reshape(-1, 768 if len(numbers) % 768 == 0 else 1024)
    return None


def _read_image(path: Path) -> dict[str, Any] | None:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
        text = getattr(image, "text", {}).get("sd-ti-embedding")
    if text is not None:
        return json.loads(base64.b64decode(text), object_hook=_tensor)
    lit = (pixels > 0).all(axis=2)
    rows, columns = np.where(lit.any(axis=1))[0], np.where(lit.any(axis=0))[0]
    halves = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] & 15
    black = [x for x in range(halves.shape[1]) if not halves[:, x].any()]
    if len(black) < 2:
        return None
    low, high = (_decode(block) for block in (halves[:, : black[0]], halves[:, black[-1] + 1 :]))
    packed = bytes(a << 4 | b for a, b in zip(high, low, strict=True))
    return json.loads(zlib.decompressobj().decompress(packed), object_hook=_tensor)


def _decode(block: np.ndarray) -> list[int]:
    state, numbers = 0, []
    for value in block.flatten().tolist():
        state = (1664525 * state + 1013904223) % 2**32
        numbers.append(value ^ (state % 255 & 15))
    return numbers


def _tensor(tree: dict[str, Any]) -> Any:
    return torch.tensor(tree["TORCHTENSOR"], dtype=torch.float64).float() if "TORCHTENSOR" in tree else tree
