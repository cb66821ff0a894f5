"""The loss of a prediction, one number per sample.

B batch, C latent channels, H W latent height and width.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from tinv.diffusion.flow import FlowProcess
from tinv.diffusion.process import NoiseProcess
from tinv.errors import UserError


@dataclass(frozen=True, kw_only=True)
class DiffusionLoss:
    """Mean squared error to the target of the model's noise process (Gal et al. 2022, eq. 2), optionally weighted."""

    snr_gamma: float | None = None
    """Cap of min-SNR weighting, which limits nearly clean timesteps; 5 is usual, None turns it off."""
    snr_power: float = 0.0
    """Weights each timestep by snr ** -snr_power, which favors noisy timesteps, where shape and color are decided: 0.5
    is debiased estimation, 0 turns it off."""
    weighting_scheme: Literal["sigma_sqrt", "cosmap"] | None = None
    """Weighting of diffusers' scripts for flow-matching models, `--weighting_scheme`; None turns it off. Their
    `logit_normal` and `mode` are timestep samplers."""

    def __post_init__(self) -> None:
        if self.snr_gamma is not None and self.snr_gamma <= 0:
            raise UserError(f"loss.snr_gamma={self.snr_gamma}: must be above 0 or null; 5 is usual.")
        if not 0 <= self.snr_power <= 1:
            raise UserError(f"loss.snr_power={self.snr_power}: must be between 0 (off) and 1; 0.5 is usual.")
        if self.snr_gamma is not None and self.snr_power:
            raise UserError(
                f"loss.snr_gamma={self.snr_gamma}, loss.snr_power={self.snr_power}: both weight the same "
                f"timesteps. Set loss.snr_gamma=null or loss.snr_power=0."
            )
        if self.weighting_scheme and (self.snr_gamma is not None or self.snr_power):
            raise UserError(
                f"loss.weighting_scheme={self.weighting_scheme}: loss.snr_gamma={self.snr_gamma} and "
                f"loss.snr_power={self.snr_power} weight the same timesteps. Set loss.snr_gamma=null loss.snr_power=0."
            )

    @property
    def unweighted(self) -> "DiffusionLoss":
        """The published loss, which compares runs with different losses."""
        return DiffusionLoss()

    def check(self, process: NoiseProcess) -> None:
        """Refuse a weighting that is for other models.

        Raises:
            UserError: the weighting is for flow-matching models, and this is none.
        """
        if self.weighting_scheme and not isinstance(process, FlowProcess):
            raise UserError(
                f"loss.weighting_scheme={self.weighting_scheme}: is for flow-matching models, but this one predicts "
                f"{process.prediction_type}. Set loss=min_snr or loss=debiased."
            )

    def __call__(
        self,
        predicted_BCHW: Tensor,
        target_BCHW: Tensor,
        *,
        t_B: Tensor,
        process: NoiseProcess,
        mask_B1HW: Tensor | None = None,
    ) -> Tensor:
        """Returns the loss of each sample, [B] float32.

        Args:
            predicted_BCHW: the denoiser's output, in any precision; the difference is computed in float32.
            target_BCHW: what it should be.
            t_B: timesteps.
            process: the model's noise process, which gives the weights.
            mask_B1HW: weight of each latent pixel, normalized to mean 1; None weighs all the same.
        """
        error_BCHW = (predicted_BCHW.float() - target_BCHW.float()).square()
        if mask_B1HW is not None:  # a mask of ones changes no bit
            error_BCHW = error_BCHW * (mask_B1HW / mask_B1HW.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6))
        loss_B = error_BCHW.mean(dim=(1, 2, 3))
        if self.snr_gamma is not None:
            loss_B = loss_B * process.min_snr_weights(t_B, self.snr_gamma)
        if self.snr_power:
            loss_B = loss_B * process.snr_power_weights(t_B, self.snr_power)
        if self.weighting_scheme:
            assert isinstance(process, FlowProcess)
            loss_B = loss_B * process.sd3_weights(t_B, self.weighting_scheme)
        assert loss_B.shape == (len(t_B),), f"expected one loss per sample, got {tuple(loss_B.shape)}"
        return loss_B
