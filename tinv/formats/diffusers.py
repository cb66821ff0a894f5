"""diffusers' own layout: one tensor [K, D] under the placeholder, which most programs can load."""

from pathlib import Path

from safetensors.torch import save_file

from tinv.files import atomic
from tinv.formats.learned import LearnedEmbedding


def write(path: Path | str, learned: LearnedEmbedding) -> None:
    """Write `{placeholder: [K, D]}` as safetensors, whole or not at all, with its provenance in the metadata.

    Raises:
        UserError: the place cannot be written to.
    """
    assert len(learned.vectors) == 1, "diffusers' layout holds the vectors of one text encoder"
    (rows_KD,) = learned.vectors.values()
    tensors = {learned.placeholder: rows_KD.detach().float().cpu().contiguous().clone()}
    with atomic(path) as draft:
        save_file(tensors, draft, metadata={**learned.provenance, "format": "pt"})
