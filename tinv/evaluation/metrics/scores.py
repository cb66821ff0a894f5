"""The published formulas of the scores, as functions of features.

N samples, M references, D features, all of unit length. Cosines are raw: neither clipped nor scaled by 2.5 or 100.
"""

import torch
from torch import Tensor


def image_similarity(samples_ND: Tensor, references_MD: Tensor) -> float:
    """Returns 1/(NM) sum_n sum_m <s_n, r_m>: CLIP-I (Gal et al. 2022), or DINO with its features (Ruiz et al. 2022).

    Similar backgrounds count as much as similar objects: compare images with references in the same scene.
    """
    return (samples_ND @ references_MD.T).mean().item()


def text_alignment(samples_ND: Tensor, captions_ND: Tensor) -> float:
    """Returns 1/N sum_n <s_n, t_n>: CLIP-T, each sample with its own caption.

    Gal et al.'s code computes this; their paper describes the cosine of the mean sample, which differs by the length of
    that mean.
    """
    assert samples_ND.shape == captions_ND.shape
    return (samples_ND * captions_ND).sum(dim=1).mean().item()


def diversity(samples_ND: Tensor) -> float | None:
    """Returns 2/(N(N-1)) sum_{n<m} 1 - <s_n, s_m>, for the samples of one prompt; None for a single sample."""
    count = len(samples_ND)
    return None if count < 2 else 1 - mean_pairwise_cosine(samples_ND)


def mean_pairwise_cosine(features_ND: Tensor) -> float:
    """Returns the mean cosine of different images of a set; that of the references is what perfect samples reach."""
    cosines_NN, count = features_ND @ features_ND.T, len(features_ND)
    assert count > 1
    return ((cosines_NN.sum() - cosines_NN.diagonal().sum()) / (count * (count - 1))).item()


def mean_nearest_cosine(samples_ND: Tensor, references_MD: Tensor) -> float:
    """Returns 1/N sum_n max_m <s_n, r_m>: the similarity of a sample to its nearest reference."""
    return (samples_ND @ references_MD.T).amax(dim=1).mean().item()


def copy_rate(samples_ND: Tensor, references_MD: Tensor) -> float | None:
    """Returns the share of samples that are closer to a reference than any two references are to each other."""
    if len(references_MD) < 2:
        return None
    cosines_MM = (references_MD @ references_MD.T).fill_diagonal_(-torch.inf)
    return ((samples_ND @ references_MD.T).amax(dim=1) > cosines_MM.max()).float().mean().item()


def geometric_mean(clip_i: float, clip_t: float) -> float:
    """Returns sqrt(CLIP-I CLIP-T), in which one percent of either counts the same; negative values count as 0."""
    return (max(clip_i, 0.0) * max(clip_t, 0.0)) ** 0.5
