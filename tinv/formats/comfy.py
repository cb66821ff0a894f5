"""Files for ComfyUI's `embedding:cat-toy`: a tensor for each text encoder, named as ComfyUI names it.

ComfyUI looks for the name, and takes the first tensor of the file where it is missing (Nerogar/OneTrainer#514).
"""

from collections.abc import Mapping

from torch import Tensor

from tinv.formats.encoder_keys import COMFYUI, saver
from tinv.formats.format import Format


def name_tensors(vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the vectors by ComfyUI's names; an encoder of an unusual width gets the name of the usual one."""
    names = {role: COMFYUI[role] for role in vectors}
    return {
        names[role].get(vectors_KD.shape[1], next(iter(names[role].values()))): vectors_KD
        for role, vectors_KD in vectors.items()
    }


FORMAT = Format(name="comfy", file_name="{slug}.safetensors", encoder_sets=None, save=saver(name_tensors))
