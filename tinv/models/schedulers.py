"""The noise process that a scheduler of diffusers describes."""

import math
from collections.abc import Callable
from typing import Any

from tinv.diffusion.flow import FlowProcess
from tinv.diffusion.process import DDPMProcess


def ddpm_process(scheduler: Any) -> DDPMProcess:
    """The process of a scheduler with `alphas_cumprod`."""
    return DDPMProcess(scheduler.alphas_cumprod.float(), scheduler.config.prediction_type)


def static_flow_process(scheduler: Any) -> FlowProcess:
    """The process of a `DPMSolverMultistepScheduler` of a flow-matching model; its shift is the same at every size."""
    return FlowProcess(lambda size: float(scheduler.config.flow_shift), scheduler.config.num_train_timesteps)


def flow_process(scheduler: Any, *, patch_size: int, find_mu: Callable[[int], float] | None = None) -> FlowProcess:
    """The process of a `FlowMatchEulerDiscreteScheduler`, whose shift may depend on the size of the latents.

    Args:
        scheduler: of the pipeline.
        patch_size: the side of the patch of latents that is one token to the denoiser.
        find_mu: the pipeline's own `mu` for a number of tokens; None is that of Flux.1.
    """
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift  # that of most pipelines; takes a second

    config = scheduler.config

    def shift(size: tuple[int, int]) -> float:
        if not config.use_dynamic_shifting:
            return float(config.shift)
        num_tokens = (size[0] // patch_size) * (size[1] // patch_size)
        if find_mu:
            mu = find_mu(num_tokens)
        else:
            mu = calculate_shift(
                num_tokens, config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift
            )
        return float(mu) if config.time_shift_type == "linear" else math.exp(mu)

    return FlowProcess(shift, config.num_train_timesteps)
