"""How pictures are drawn from noise: diffusers' schedulers, by short names."""

from collections.abc import Mapping
from typing import Any

from tinv.errors import UserError
from tinv.silence import quiet

DPM, DDIM = "dpm", "ddim"
TITLES = {DPM: "DPM-Solver++ (2M)", DDIM: "DDIM (eta 0)"}
"""What they are called in records."""


def check_solver(name: str) -> None:
    """Refuse a solver that there is none of.

    Raises:
        UserError: it is unknown.
    """
    if name not in TITLES:
        raise UserError(f"--sampler must be {' or '.join(TITLES)}, got {name!r}")


def solver(name: str, config: Mapping[str, Any]) -> Any:
    """A scheduler over a model's noise schedule.

    Args:
        name: `dpm`, DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095), or `ddim`, DDIM (Song et al. 2020, arXiv
            2010.02502), as latent diffusion uses it: nothing is clipped, and the last step ends at the schedule's first
            level.
        config: of any of diffusers' schedulers.

    Raises:
        UserError: the name is unknown.
    """
    check_solver(name)
    with quiet():
        from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
    if name == DDIM:
        return DDIMScheduler.from_config(config, clip_sample=False, set_alpha_to_one=False)
    return DPMSolverMultistepScheduler.from_config(config)
