"""The training loop as Lightning sees it: thin hooks around pure functions.

B batch, C latent channels, h w latent height and width, K rows, D width.
"""

from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from tinv import __version__
from tinv.concept import Concept
from tinv.diffusion import noise_latents, timesteps
from tinv.embedding import TokenEmbedding
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.hub.licences import licence_of
from tinv.models import StableDiffusion, StableDiffusionXL
from tinv.objective import DiffusionLoss
from tinv.optim import Pace, as_text, averages_by_itself, evaluated, unwrap
from tinv.types import Batch, OptimizerFactory, SchedulerFactory, Vectors


class TextualInversion(LightningModule):
    """A frozen model, and rows that learn to make it draw the concept (Gal et al. 2022, arXiv 2208.01618)."""

    def __init__(
        self,
        *,
        model: StableDiffusion | StableDiffusionXL,
        concept: Concept,
        embedding: TokenEmbedding,
        objective: DiffusionLoss,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory,
        seed: int,
        scale_lr: bool = False,
    ):
        """Put the rows at their start.

        Args:
            model: frozen; several modules may share one.
            concept: what is learned.
            embedding: how many rows, and where they start.
            objective: gives the loss of each sample.
            optimizer: lacks only its parameters.
            scheduler: lacks only its optimizer; stepped once an optimizer step.
            seed: of the run.
            scale_lr: multiply the optimizer's rate by the effective batch.

        Raises:
            UserError: the words cannot be learned, or not with so many vectors.
        """
        super().__init__()
        self.model = model
        self.concept, self.objective, self.seed = concept, objective, seed
        self.optimizer, self.scheduler, self.scale_lr = optimizer, scheduler, scale_lr
        self.initializer = concept.initializer if embedding.init in ("word", "phrase", "mean") else None
        self.embedding = embedding.start(concept, tokenizers=model.tokenizers, tables=model.tables, seed=seed)
        self.hold, self.average = embedding.hold(model.tables), embedding.average(self.embedding)
        self._mover: Optimizer | None = None

    def losses(self, batch: Batch, vectors: Vectors | None = None) -> Tensor:
        """The loss of each sample, [B], with noise that depends on the samples' own seeds alone.

        Args:
            batch: what is shown.
            vectors: the words' rows; None is the rows that are trained.
        """
        posterior_BChw, noise_BChw = _normal_pair(batch, device=self.device)
        clean_BChw = self.model.sample_latents(batch.moments, posterior_BChw)
        schedule = self.model.schedule
        t_B = timesteps(batch.level, len(schedule.alphas_cumprod))
        noisy_BChw = noise_latents(clean_BChw, noise_BChw, t_B, schedule.alphas_cumprod)
        conditioning = self.model.encode_text(batch.captions, vectors or self.embedding.vectors())
        predicted_BChw = self.model.predict(noisy_BChw, t_B, conditioning, batch.geometry)
        return self.objective(
            predicted_BChw,
            clean_BCHW=clean_BChw,
            noise_BCHW=noise_BChw,
            t_B=t_B,
            schedule=schedule,
            mask_B1HW=batch.mask,
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean loss of a micro-batch."""
        loss = self.losses(batch).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch of the fixed draws to `val/loss`."""
        loss = self.losses(batch, self.shown()).mean()
        self.log("val/loss", loss, prog_bar=True, batch_size=len(batch), sync_dist=True)
        self.log("step", float(self.global_step), batch_size=len(batch))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Log the rate that the coming step is made with; Prodigy's own estimate of it is `d`."""
        group = self.trainer.optimizers[0].param_groups[0]
        self.log("train/lr", group["lr"] * group.get("d", 1.0), prog_bar=True, batch_size=len(batch))

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Have Lightning measure `val/loss` after the last step, also where its interval does not divide the run."""
        if self.global_step >= self.trainer.max_steps:
            self.trainer.should_stop = True

    def configure_optimizers(self) -> Any:
        """The rows' optimizer and its schedule, one step of it an optimizer step, however many processes there are."""
        rate = {"lr": self._rate()} if self.scale_lr else {}
        optimizer = self.optimizer(self.embedding.parameters(), **rate)
        if self.hold or self.average:
            optimizer.register_step_post_hook(self._after_step)
        if averages_by_itself(optimizer):
            optimizer.train()  # type: ignore[attr-defined]
        self._mover = optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"}}

    def pace(self, trainer: Trainer, data: Any) -> Pace:
        """How much a run takes in at each step, and the rate that it is given.

        Args:
            trainer: of the run.
            data: its datamodule.
        """
        return Pace(
            batch_size=data.batch_size,
            accumulate=trainer.accumulate_grad_batches,
            processes=trainer.world_size,
            lr=signature(self.optimizer).parameters["lr"].default,
            scale_lr=self.scale_lr,
            schedule=as_text(unwrap(self.scheduler)[1].get("schedule", [])) or None,
        )

    def shown(self) -> Vectors:
        """The rows as everybody else gets them: those that are trained, or their average where one is kept."""
        if self.average is not None:
            return self.average.rows.vectors()
        if self._mover is None or not averages_by_itself(self._mover):
            return self.embedding.vectors()
        with evaluated(self._mover):
            vectors = self.embedding.vectors()
            return {word: {name: rows.detach().clone() for name, rows in of.items()} for word, of in vectors.items()}

    def vectors(self) -> Vectors:
        """The rows as everybody else gets them: detached float32 copies on the CPU."""
        return {
            placeholder: {encoder: rows_KD.detach().float().cpu().clone() for encoder, rows_KD in by_encoder.items()}
            for placeholder, by_encoder in self.shown().items()
        }

    def learned(self) -> LearnedEmbedding:
        """The word as it is now, with where it comes from."""
        provenance = {
            "base_model": self.model.name,
            "fingerprint": self.model.fingerprint,
            "prediction_type": self.model.schedule.prediction_type,
            "kind": self.concept.kind,
            "initializer": self.initializer or "",
            "steps": str(self.global_step),
            "seed": str(self.seed),
            "tinv_version": __version__,
        }
        if_known = {"base_revision": self.model.revision, "base_license": licence_of(self.model.name)}
        provenance |= {key: text for key, text in if_known.items() if text}
        return LearnedEmbedding(self.concept.placeholder, self.vectors()[self.concept.placeholder], provenance)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The rows, and their average: the frozen model is not part of a checkpoint."""
        return {
            name: value
            for part, own in self._saved().items()
            for name, value in own.state_dict(prefix=f"{part}.").items()
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """The rows of a checkpoint."""
        for part, own in self._saved().items():
            mine = {name.removeprefix(f"{part}."): v for name, v in state_dict.items() if name.startswith(f"{part}.")}
            own.load_state_dict(mine, strict=strict, assign=assign)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say what this is a checkpoint of."""
        checkpoint["tinv"] = self._identity()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on from a checkpoint of something else.

        Raises:
            UserError: naming every difference.
        """
        before, now = checkpoint.get("tinv"), self._identity()
        if before is None:
            raise UserError("resume: this checkpoint was not written by tinv; give one from a run's checkpoints folder")
        before = {**now, "embedding.ema": 0.0, **before}  # what older checkpoints do not say
        differences = [f"{key} was {before[key]!r} and is {now[key]!r}" for key in now if before[key] != now[key]]
        if differences:
            raise UserError(
                f"resume: the checkpoint belongs to another run: {'; '.join(differences)}; "
                f"set these as they were, or start anew without resume"
            )

    def _rate(self) -> float:
        return self.pace(self.trainer, self.trainer.datamodule).rate  # type: ignore[attr-defined]

    def _saved(self) -> dict[str, nn.Module]:
        return {"embedding": self.embedding, **({"average": self.average} if self.average is not None else {})}

    def _after_step(self, *_: Any) -> None:
        """What the settings ask of the rows after each optimizer step."""
        if self.hold:
            self.hold(self.embedding)
        if self.average is not None:
            self.average.update(self.embedding)
            if self.hold and self.hold.is_exact:
                self.hold(self.average.rows)

    def _identity(self) -> dict[str, Any]:
        """What a run that goes on must have in common with its checkpoint.

        The optimizer's settings are among it because a checkpoint brings its own: others would pass unheard.
        """
        vectors = self.embedding.vectors()
        optimizer, settings = unwrap(self.optimizer)
        return {
            "placeholder": self.concept.placeholder,
            "vectors": {encoder: list(rows.shape) for encoder, rows in vectors[self.concept.placeholder].items()},
            "model": self.model.fingerprint,
            "seed": self.seed,
            "embedding.ema": self.average.decay if self.average is not None else 0.0,
            "optimizer": optimizer,
            **{f"optimizer.{name}": value for name, value in settings.items() if name != "lr"},
            "learning rate": self._rate(),
        }


def _normal_pair(batch: Batch, *, device: torch.device) -> tuple[Tensor, Tensor]:
    """Two standard normal [B, C, h, w] float32, the posterior's and the diffusion's, from each sample's own seed.

    Drawn on the CPU, so that a run sees the same noise on every kind of device.
    """
    shape = (2, batch.moments.shape[1] // 2, *batch.moments.shape[2:])
    seeds = batch.draws.tolist()
    drawn = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds], dim=1)
    posterior_BChw, noise_BChw = drawn.to(device)
    return posterior_BChw, noise_BChw
