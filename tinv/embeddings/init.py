"""Where the learned rows start: each way a function of the frozen text encoders.

K rows, V words, D width, L tokens.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from tinv import formats
from tinv.errors import UserError
from tinv.runs.files import resolve_path
from tinv.seeding import generator
from tinv.types import Conditioning


def from_tokens(table_VD: Tensor, ids: Sequence[int], num_vectors: int) -> Tensor:
    """Rows [K, D] that copy the tokens' vectors in turn: one row a token, beginning again where there are more rows."""
    return torch.stack([table_VD[ids[i % len(ids)]].float() for i in range(num_vectors)])


def from_mean(table_VD: Tensor, ids: Sequence[int], num_vectors: int) -> Tensor:
    """Rows [K, D] that all stand at the mean of the tokens' vectors."""
    return table_VD[list(ids)].float().mean(dim=0).expand(num_vectors, -1).clone()


@torch.no_grad()
def from_outputs(encode_text: Callable[..., Conditioning], text: str, widths: Mapping[str, int]) -> dict[str, Tensor]:
    """What the denoiser gets to see of a text, [L, D] by text encoder, from its first token on.

    Cross Initialization (Pang et al. 2023, arXiv 2312.15905) starts rows there: a learned row comes to resemble the
    text encoder's output rather than its input, in scale and in direction, and from there it has less far to go.

    Args:
        encode_text: the frozen model's.
        text: the initializer.
        widths: D of each text encoder, in the order in which they stand side by side.
    """
    hidden_LD = encode_text([text], {}).hidden[0, 1:].float().cpu()
    return dict(zip(widths, hidden_LD.split(list(widths.values()), dim=1), strict=True))


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
    learned = formats.read(resolve_path(path))
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
