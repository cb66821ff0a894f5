"""How wrong a prediction is, a number a sample.

B batch, C latent channels, H W latent height and width.
"""

from dataclasses import dataclass

from torch import Tensor

from tinv.diffusion.process import PREDICTION_TYPES, min_snr_weights, snr_power_weights, target
from tinv.errors import UserError
from tinv.types import NoiseSchedule


@dataclass(frozen=True, kw_only=True)
class DiffusionLoss:
    """Mean squared error to the target of the model's own noise schedule (Gal et al. 2022, eq. 2)."""

    snr_gamma: float | None = None
    """Caps the weight of nearly clean timesteps (min-SNR); 5 is usual, None is the published objective."""
    snr_power: float = 0.0
    """Weights each timestep by its signal-to-noise ratio to the power of minus this: 0.5 is debiased estimation, 0 the
    published objective. Noisy timesteps, and with them shape and colour, count for more."""

    def __post_init__(self) -> None:
        if self.snr_gamma is not None and self.snr_gamma <= 0:
            raise UserError(f"loss.snr_gamma must be above 0 (5 is usual) or null, got {self.snr_gamma}")
        if not 0 <= self.snr_power <= 1:
            raise UserError(f"loss.snr_power must be 0 to 1, got {self.snr_power}; 0.5 is usual, 0 leaves it out")
        if self.snr_gamma is not None and self.snr_power:
            raise UserError(
                f"loss.snr_gamma={self.snr_gamma} and loss.snr_power={self.snr_power} weight the same "
                f"timesteps; set snr_gamma=null or snr_power=0"
            )

    @property
    def plain(self) -> "DiffusionLoss":
        """The published objective, by which runs with different ones can be compared."""
        return DiffusionLoss()

    def __call__(
        self,
        predicted_BCHW: Tensor,
        *,
        clean_BCHW: Tensor,
        noise_BCHW: Tensor,
        t_B: Tensor,
        schedule: NoiseSchedule,
        mask_B1HW: Tensor | None = None,
    ) -> Tensor:
        """The loss of each sample, [B], float32.

        Args:
            predicted_BCHW: the denoiser's output, in any precision; the difference is taken in float32.
            clean_BCHW: scaled latents before noising.
            noise_BCHW: the noise that was added.
            t_B: integer timesteps.
            schedule: gives the meaning of the output and the weights.
            mask_B1HW: weights of the places, or None for all alike. The mean is over the weights' sum.

        Raises:
            UserError: the schedule's prediction type is not supported.
        """
        if schedule.prediction_type not in PREDICTION_TYPES:
            raise UserError(
                f"the model's scheduler predicts {schedule.prediction_type!r}; "
                f"textual inversion is implemented for {' and '.join(PREDICTION_TYPES)}"
            )
        alphas_T = schedule.alphas_cumprod
        wanted_BCHW = target(
            schedule.prediction_type, clean_BCHW=clean_BCHW, noise_BCHW=noise_BCHW, t_B=t_B, alphas_cumprod_T=alphas_T
        )
        error_BCHW = (predicted_BCHW.float() - wanted_BCHW.float()).square()
        if mask_B1HW is not None:  # weights of mean 1: a mask of ones is no mask, to the last bit
            error_BCHW = error_BCHW * (mask_B1HW / mask_B1HW.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6))
        loss_B = error_BCHW.mean(dim=(1, 2, 3))
        if self.snr_gamma is not None:
            loss_B = loss_B * min_snr_weights(
                schedule.prediction_type, t_B=t_B, alphas_cumprod_T=alphas_T, gamma=self.snr_gamma
            )
        if self.snr_power:
            loss_B = loss_B * snr_power_weights(
                schedule.prediction_type, t_B=t_B, alphas_cumprod_T=alphas_T, power=self.snr_power
            )
        assert loss_B.shape == (len(t_B),), f"a loss a sample is expected, got {tuple(loss_B.shape)}"
        return loss_B
