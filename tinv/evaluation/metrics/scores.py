"""How good samples are, from features alone: the published formulae, each once.

N samples, M references, D features, all of unit length. Cosines are raw: neither clipped nor times 2.5 or 100.
"""

import torch
from torch import Tensor


def image_similarity(samples_ND: Tensor, references_MD: Tensor) -> float:
    """1/(NM) sum_n sum_m <s_n, r_m>: CLIP-I of CLIP's features (Gal et al. 2022), DINO of DINO's (Ruiz et al. 2022).

    Alike backgrounds count as much as alike subjects: compare pictures with references in the same scene.
    """
    return (samples_ND @ references_MD.T).mean().item()


def text_alignment(samples_ND: Tensor, captions_ND: Tensor) -> float:
    """1/N sum_n <s_n, t_n>: CLIP-T, each sample with its own caption.

    Gal et al.'s paper says the cosine of the mean sample, their code this; the two differ by that mean's length.
    """
    assert samples_ND.shape == captions_ND.shape
    return (samples_ND * captions_ND).sum(dim=1).mean().item()


def diversity(samples_ND: Tensor) -> float | None:
    """2/(N(N-1)) sum_{n<m} 1 - <s_n, s_m>: how far samples of one prompt are apart; None for a single one."""
    count = len(samples_ND)
    return None if count < 2 else 1 - mean_pairwise_cosine(samples_ND)


def mean_pairwise_cosine(features_ND: Tensor) -> float:
    """Mean cosine of different pictures of a set: likeness of the references is what a perfect word would come to."""
    cosines_NN, count = features_ND @ features_ND.T, len(features_ND)
    assert count > 1
    return ((cosines_NN.sum() - cosines_NN.diagonal().sum()) / (count * (count - 1))).item()


def nearest(samples_ND: Tensor, references_MD: Tensor) -> float:
    """1/N sum_n max_m <s_n, r_m>: how like a sample is to the reference that it is most like."""
    return (samples_ND @ references_MD.T).amax(dim=1).mean().item()


def copy_rate(samples_ND: Tensor, references_MD: Tensor) -> float | None:
    """The share of samples that are more like a reference than any two references are like each other: memorised."""
    if len(references_MD) < 2:
        return None
    cosines_MM = (references_MD @ references_MD.T).fill_diagonal_(-torch.inf)
    return ((samples_ND @ references_MD.T).amax(dim=1) > cosines_MM.max()).float().mean().item()


def geometric_mean(clip_i: float, clip_t: float) -> float:
    """sqrt(CLIP-I CLIP-T), the geometric mean: one percent of the one is worth one percent of the other."""
    return (max(clip_i, 0.0) * max(clip_t, 0.0)) ** 0.5
