"""Initial values of learned vectors, each a function of the frozen text encoders.

K vectors, V words, D width, L tokens.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from tinv import formats
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.formats.learned_embedding import widths
from tinv.formats.text_encoders import rename_guessed
from tinv.formats.unusual_vectors import find_unusual_vectors
from tinv.runs.files import resolve_path
from tinv.seeding import generator
from tinv.types import Conditioning


def init_from_tokens(table_VD: Tensor, ids: Sequence[int], num_vectors: int) -> Tensor:
    """Returns [K, D]: the tokens' vectors in order, repeated from the first if there are fewer tokens than vectors."""
    return torch.stack([table_VD[ids[i % len(ids)]].float() for i in range(num_vectors)])


def init_from_mean(table_VD: Tensor, ids: Sequence[int], num_vectors: int) -> Tensor:
    """Returns [K, D]: the mean of the tokens' vectors, K times."""
    return table_VD[list(ids)].float().mean(dim=0).expand(num_vectors, -1).clone()


@torch.no_grad()
def text_encoder_outputs(
    encode_text: Callable[..., Conditioning], text: str, widths: Mapping[str, int]
) -> dict[str, Tensor]:
    """Returns the last hidden states [L, D] of a text by text encoder, from its first token on.

    Cross Initialization (Pang et al. 2023, arXiv 2312.15905) starts from them: during training a learned vector comes
    to resemble the text encoder's output, in scale and direction, more than its input.

    Args:
        encode_text: of the frozen model.
        text: the initializer.
        widths: D of each text encoder, in the order in which the model concatenates their outputs.
    """
    hidden_LD = encode_text([text], {}).hidden[0, 1:].float().cpu()
    return dict(zip(widths, hidden_LD.split(list(widths.values()), dim=1), strict=True))


def init_random(table_VD: Tensor, num_vectors: int, *, seed: int, encoder: str) -> Tensor:
    """Returns [K, D]: normal noise with the vocabulary's mean and standard deviation in each coordinate."""
    table_VD = table_VD.float().cpu()
    noise_KD = torch.randn(num_vectors, table_VD.shape[1], generator=generator(seed, "init", encoder))
    return table_VD.mean(dim=0) + table_VD.std(dim=0) * noise_KD


def read_init_file(path: str) -> LearnedEmbedding:
    """Returns the embedding that training starts from.

    Raises:
        UserError: no such file, or vectors that training cannot start from.
    """
    learned = formats.read(resolve_path(path))
    if problem := find_unusual_vectors(learned.vectors):
        raise UserError(f"embedding.init_file={path}: {problem}; training cannot start there. Choose another file.")
    return learned


def init_from_file(path: str, encoder: str, *, num_vectors: int, width: int) -> Tensor:
    """Returns [K, D]: the vectors in an embedding file.

    Raises:
        UserError: as `read_init_file`, or another number of vectors, or a model of another width.
    """
    learned = read_init_file(path)
    vectors_KD = learned.vectors.get(encoder)
    if learned.has_guessed_encoders and (roles := rename_guessed(widths(learned), {encoder: width})):
        vectors_KD = {roles[role]: vectors for role, vectors in learned.vectors.items()}[encoder]
    if vectors_KD is None or vectors_KD.shape != (num_vectors, width):
        shapes = {name: list(vectors.shape) for name, vectors in learned.vectors.items()}
        raise UserError(
            f"embedding.init_file={path}: has {shapes}, but {encoder} needs [{num_vectors}, {width}]. Set "
            f"embedding.num_vectors to the file's number, or choose an embedding of this model."
        )
    return vectors_KD.float()


def add_noise(vectors_KD: Tensor, table_VD: Tensor, *, noise: float, seed: int, encoder: str) -> Tensor:
    """Returns the vectors with normal noise added, in units of the vocabulary's standard deviation."""
    if not noise:
        return vectors_KD
    noise_KD = torch.randn(vectors_KD.shape, generator=generator(seed, "init_noise", encoder))
    return vectors_KD + noise * table_VD.float().std().item() * noise_KD
