"""Where the learned rows start: five ways, each a function of the frozen vocabulary.

K rows, V words, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tinv import formats
from tinv.draw import generator
from tinv.errors import UserError
from tinv.files import locate


def from_tokens(table_VD: Tensor, ids: Sequence[int], num_vectors: int) -> Tensor:
    """Rows [K, D] that copy the tokens' vectors in turn: one row a token, beginning again where there are more rows."""
    return torch.stack([table_VD[ids[i % len(ids)]].float() for i in range(num_vectors)])


def from_mean(table_VD: Tensor, ids: Sequence[int], num_vectors: int) -> Tensor:
    """Rows [K, D] that all stand at the mean of the tokens' vectors."""
    return table_VD[list(ids)].float().mean(dim=0).expand(num_vectors, -1).clone()


def at_random(table_VD: Tensor, num_vectors: int, *, seed: int, encoder: str) -> Tensor:
    """Rows [K, D] with the vocabulary's own mean and spread in each coordinate."""
    table_VD = table_VD.float().cpu()
    noise_KD = torch.randn(num_vectors, table_VD.shape[1], generator=generator(seed, "init", encoder))
    return table_VD.mean(dim=0) + table_VD.std(dim=0) * noise_KD


def from_file(path: str, encoder: str, *, num_vectors: int, width: int) -> Tensor:
    """Rows [K, D] of a learned embedding.

    Raises:
        UserError: no such file, another number of vectors, or a model of another width.
    """
    learned = formats.read(locate(path))
    rows_KD = learned.vectors.get(encoder)
    if rows_KD is None or rows_KD.shape != (num_vectors, width):
        found = {name: list(rows.shape) for name, rows in learned.vectors.items()}
        raise UserError(
            f"embedding.init_file {path} holds {found}, but [{num_vectors}, {width}] is needed for {encoder}; "
            f"set embedding.num_vectors to the file's, or choose an embedding that was learned on this model"
        )
    return rows_KD.float()


def spread(rows_KD: Tensor, table_VD: Tensor, *, noise: float, seed: int, encoder: str) -> Tensor:
    """Rows with noise added, in units of the vocabulary's standard deviation, so that equal rows part."""
    if not noise:
        return rows_KD
    drawn_KD = torch.randn(rows_KD.shape, generator=generator(seed, "init_noise", encoder))
    return rows_KD + noise * table_VD.float().std().item() * drawn_KD
