"""Files for OneTrainer: `emp_params` for Stable Diffusion 1 and 2, else a tensor for each text encoder.

The names are those of its savers and loaders at Nerogar/OneTrainer 23df3832.
"""

from collections.abc import Mapping

from torch import Tensor

from tinv.formats.encoder_keys import saver
from tinv.formats.format import Format
from tinv.formats.text_encoders import MODELS


def name_tensors(vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the vectors by OneTrainer's names."""
    if vectors.keys() in ({"clip_l"}, {"clip_h"}):
        return {"emp_params": next(iter(vectors.values()))}
    return dict(vectors)


_SETS = tuple(dict.fromkeys(frozenset(model.widths) for model in MODELS if model.in_onetrainer))
FORMAT = Format(name="onetrainer", file_name="{slug}.safetensors", encoder_sets=_SETS, save=saver(name_tensors))
