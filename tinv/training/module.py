"""The training loop as Lightning sees it: thin hooks around pure functions.

B batch, C latent channels, h w latent height and width, K rows, D width.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from tinv.concept import Concept, names
from tinv.diffusion.loss import DiffusionLoss
from tinv.diffusion.process import noise_latents, timesteps
from tinv.diffusion.timestep_samplers import UNIFORM, TimestepSampler, resample_levels
from tinv.embeddings import EmbeddingConfig, LearnedToken, guidance_scale_for
from tinv.formats import LearnedEmbedding
from tinv.means import Mean, by_name
from tinv.models import LatentDiffusion
from tinv.models.conditioning import layers_of, predict_with_parts
from tinv.optim import EffectiveBatch, eval_mode, format_schedule, has_eval_mode, inspect_factory
from tinv.provenance import provenance
from tinv.seeding import normal_pair
from tinv.token_parts import has_parts
from tinv.training.checkpoint_identity import check_identity, checkpoint_identity
from tinv.training.concept_task import ConceptTask
from tinv.training.microbatches import MicroBatchMerger, micro_batches_that_fit, sum_of_mean_losses
from tinv.training.regularizers import NOTHING, Regularizer
from tinv.types import Batch, OptimizerFactory, SchedulerFactory, Vectors, by_concept, to_device


class TextualInversion(LightningModule):
    """A frozen model, and rows that learn to make it draw their concepts (Gal et al. 2022, arXiv 2208.01618).

    Each step shows it a batch of each concept, one after the other, and the losses are added up: the rows of a concept
    get, to the last bit, the gradient that they would get if it were the only one.
    """

    learned_tokens: list[LearnedToken]
    """One for each concept, that of `concept` first."""
    steps_of_rows: int | None
    """How many optimizer steps the rows hold where those after them were void; None is all."""

    def __init__(
        self,
        *,
        model: LatentDiffusion,
        concept: Concept,
        embedding: EmbeddingConfig,
        loss: DiffusionLoss,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory,
        seed: int,
        scale_lr: bool = False,
        merge_batches: bool = False,
        timestep_sampler: TimestepSampler = UNIFORM,
        regularizer: Regularizer = NOTHING,
        extra_concepts: Sequence[ConceptTask] = (),
    ):
        """Put the rows at their start.

        Args:
            model: frozen; several modules may share one.
            concept: what is learned.
            embedding: how many rows, and where they start.
            loss: gives the loss of each sample.
            optimizer: lacks only its parameters.
            scheduler: lacks only its optimizer; stepped once an optimizer step.
            seed: of the run.
            scale_lr: multiply the optimizer's rate by the effective batch.
            merge_batches: compute accumulated micro-batches side by side where memory allows.
            timestep_sampler: how often training shows each timestep.
            regularizer: what is added to the loss of each concept.
            extra_concepts: what else is learned in the same run.

        Raises:
            UserError: the words cannot be learned, or not with so many vectors.
        """
        super().__init__()
        self.model = model
        self.loss, self.regularizer, self.seed = loss, regularizer, seed
        self.optimizer, self.scheduler, self.scale_lr = optimizer, scheduler, scale_lr
        parts = [(concept, embedding, None), *((other.concept, other.embedding, other.lr) for other in extra_concepts)]
        known: dict[str, Any] = {"tokenizers": model.tokenizers, "tables": model.tables, "seed": seed}
        known |= {"encode_text": model.encode_text, "layers": layers_of(model.unet)}
        self.learned_tokens = nn.ModuleList(  # type: ignore[assignment]
            LearnedToken(concept, embedding, name=name, lr=lr, **known)
            for (concept, embedding, lr), name in zip(parts, names([part[0] for part in parts]), strict=True)
        )
        self._has_parts = has_parts(_joined(word.embedding.vectors() for word in self.learned_tokens))
        self._weights_T = timestep_sampler.weights(model.schedule.alphas_cumprod)
        self._optimizer: Optimizer | None = None
        self._merger = MicroBatchMerger(None if merge_batches else 1)
        self._means: list[Mean] = []
        self.steps_of_rows: int | None = None

    def losses(self, batch: Batch, vectors: Vectors | None = None, loss: DiffusionLoss | None = None) -> Tensor:
        """The loss of each sample, [B], with noise that depends on the samples' own seeds alone.

        Args:
            batch: what is shown.
            vectors: the words' rows; None is the rows that are trained.
            loss: None is the one that is trained with.
        """
        vectors = vectors or _joined(word.embedding.vectors() for word in self.learned_tokens)
        latent = batch.moments[0].chunk(2)[0].shape
        posterior_BChw, noise_BChw = to_device(normal_pair(batch.draws.tolist(), latent), self.device)
        clean_BChw = self.model.sample_latents(batch.moments, posterior_BChw)
        schedule = self.model.schedule
        t_B = timesteps(batch.level, len(schedule.alphas_cumprod))
        noisy_BChw = noise_latents(clean_BChw, noise_BChw, t_B, schedule.alphas_cumprod)
        if self._has_parts:
            guidance = guidance_scale_for(self.learned_tokens, batch.captions)
            predicted_BChw = predict_with_parts(self.model, noisy_BChw, t_B, batch, vectors, guidance=guidance)
        else:
            conditioning = self.model.encode_text(batch.captions, vectors)
            predicted_BChw = self.model.predict(noisy_BChw, t_B, conditioning, batch.geometry)
        return (loss or self.loss)(
            predicted_BChw,
            clean_BCHW=clean_BChw,
            noise_BCHW=noise_BChw,
            t_B=t_B,
            schedule=schedule,
            mask_B1HW=batch.mask,
        )

    def training_step(self, batch: Batch | Sequence[Batch | None], batch_idx: int) -> Tensor:
        """The sum over the concepts of the mean loss of their micro-batches, and of what is minimised besides."""
        micro = [part and resample_levels(part, self._weights_T) for part in by_concept(batch)]
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self._means.clear()
        if due := self._due(micro, batch_idx):
            losses = self._over_words(due, self.losses)
            self._means += map(_mean, losses)
            if self._is_last(batch_idx):
                self._log_means("train/loss", self._means)
            terms = [*(loss for _, loss, _ in losses), *(len(due) * term for term in self._regularized())]
            return torch.stack(terms).sum()
        return 0.0 * torch.stack([rows_KD.sum() for rows_KD in self.named_vectors().values()]).sum()

    def validation_step(self, batch: Batch | Sequence[Batch | None], batch_idx: int) -> None:
        """Add a batch of the fixed draws to `val/loss`, the published loss whatever the run minimises."""
        published = partial(self.losses, vectors=self.eval_vectors(), loss=self.loss.plain)
        losses = self._over_words([by_concept(batch)], published)
        self._log_means("val/loss", map(_mean, losses))
        self.log("step", float(self.global_step), batch_size=len(losses))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Log the rates that the coming step is made with; Prodigy's own estimate of it is `d`."""
        for word, group in zip(self.learned_tokens, self.trainer.optimizers[0].param_groups, strict=True):
            self.log(f"train/lr{word.suffix}", group["lr"] * group.get("d", 1.0), prog_bar=True, batch_size=1)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Have Lightning measure `val/loss` after the last step, also where its interval does not divide the run."""
        if self.global_step >= self.trainer.max_steps:
            self.trainer.should_stop = True

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the rows of each concept by themselves: a loud one does not quieten the others."""
        groups = optimizer.param_groups
        for group in groups:
            optimizer.param_groups = [group]
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        optimizer.param_groups = groups

    def configure_optimizers(self) -> Any:
        """The rows' optimizer and its schedule, one step of it an optimizer step, however many processes there are."""
        rates = [pace.scaled_lr for pace in self.paces(self.trainer, self.trainer.datamodule)]  # type: ignore[attr-defined]
        groups = [
            {"params": [*w.embedding.parameters()], "lr": rate}
            for w, rate in zip(self.learned_tokens, rates, strict=True)
        ]
        optimizer = self.optimizer(groups, lr=rates[0])
        for word in self.learned_tokens:
            word.set_max_steps(self.trainer.max_steps)
        if any(word.norm_constraint or word.average is not None for word in self.learned_tokens):
            optimizer.register_step_post_hook(self._after_step)
        if has_eval_mode(optimizer):
            optimizer.train()  # type: ignore[attr-defined]
        self._optimizer = optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"}}

    def paces(self, trainer: Trainer, data: Any) -> list[EffectiveBatch]:
        """How much a run takes in of each concept at each step, and the rate that its rows are given.

        Args:
            trainer: of the run.
            data: its datamodule.
        """
        lr = signature(self.optimizer).parameters["lr"].default
        return [
            EffectiveBatch(
                batch_size=part.batch_size,
                accumulate_grad_batches=trainer.accumulate_grad_batches,
                world_size=trainer.world_size,
                lr=lr if word.lr is None else word.lr,
                scale_lr=self.scale_lr,
                schedule=format_schedule(inspect_factory(self.scheduler)[1].get("schedule", [])) or None,
            )
            for word, part in zip(self.learned_tokens, data.datamodules, strict=True)
        ]

    def named_vectors(self) -> dict[str, nn.Parameter]:
        """Everything that learns, [K, D] each, by names for messages."""
        return {
            f"{name}{f' of {word.placeholder_token}' if word.name else ''}": rows_KD
            for word in self.learned_tokens
            for name, rows_KD in word.embedding.named_parameters()
        }

    def parts(self) -> dict[str, tuple[str, ...]]:
        """The parts of which rows are, one after the other, by the same names; none for those of ordinary words."""
        known = [word.embedding.parts for word in self.learned_tokens for _ in word.embedding.parameters()]
        return dict(zip(self.named_vectors(), known, strict=True))

    def eval_vectors(self) -> Vectors:
        """The rows as everybody else gets them: those that are trained, or their averages where these are kept."""
        if self._optimizer is None or not has_eval_mode(self._optimizer):
            return _joined(word.eval_vectors() for word in self.learned_tokens)
        with eval_mode(self._optimizer):
            shown = _joined(word.eval_vectors() for word in self.learned_tokens)
            return {word: {name: rows.detach().clone() for name, rows in of.items()} for word, of in shown.items()}

    def export_vectors(self) -> Vectors:
        """The rows as everybody else gets them: detached float32 copies on the CPU."""
        return {
            placeholder: {encoder: rows_KD.detach().float().cpu().clone() for encoder, rows_KD in by_encoder.items()}
            for placeholder, by_encoder in self.eval_vectors().items()
        }

    def learned_embeddings(self) -> list[LearnedEmbedding]:
        """The words as they are now, with where they come from."""
        steps = self.global_step if self.steps_of_rows is None else self.steps_of_rows
        told = provenance(self.model, steps=steps, seed=self.seed)
        vectors = self.export_vectors()
        return [
            LearnedEmbedding(
                word.placeholder_token,
                vectors[word.placeholder_token],
                told
                | {
                    "kind": word.concept.kind,
                    "initializer_token": word.initializer_token or "",
                    **({} if word.guidance is None else {"guidance": str(word.guidance)}),
                },
            )
            for word in self.learned_tokens
        ]

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The rows, and their averages: the frozen model is not part of a checkpoint."""
        return {
            name: value for word in self.learned_tokens for name, value in word.state_dict(prefix=word.prefix).items()
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """The rows of a checkpoint."""
        for word in self.learned_tokens:
            mine = {name.removeprefix(word.prefix): v for name, v in state_dict.items() if name.startswith(word.prefix)}
            word.load_state_dict(mine, strict=strict, assign=assign)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say what this is a checkpoint of."""
        checkpoint["tinv"] = checkpoint_identity(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on from a checkpoint of something else.

        Raises:
            UserError: naming every difference.
        """
        check_identity(checkpoint.get("tinv"), checkpoint_identity(self))

    def _due(self, micro: Sequence[Batch | None], batch_idx: int) -> list[Sequence[Batch | None]]:
        """The micro-batches that are computed now, this one among them; none as long as more are to come."""
        most = self.trainer.accumulate_grad_batches
        if most > 1 and self._merger.at_once is None:
            compute = partial(self._over_words, [micro], self.losses)
            self._merger.at_once = micro_batches_that_fit(compute, frozen=self.model.parameters(), device=self.device)
        return self._merger.take(micro, is_first=batch_idx % most == 0, is_last=self._is_last(batch_idx))

    def _is_last(self, batch_idx: int) -> bool:
        """Whether a micro-batch is the last one of its optimizer step."""
        return (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0 or self.trainer.is_last_batch

    def _regularized(self) -> Iterator[Tensor]:
        for word in self.learned_tokens:
            term = self.regularizer(word, self.model, seed=self.seed, step=self.global_step)
            if term is not None:
                self.log(f"train/regularizer{word.suffix}", term.detach(), batch_size=1)
                yield term

    def _log_means(self, name: str, means: Iterable[Mean]) -> None:
        for key, (mean, samples) in by_name(name, means).items():
            self.log(key, mean, batch_size=samples, prog_bar=key == name, sync_dist=True)

    def _over_words(
        self, micro: Sequence[Sequence[Batch | None]], losses: Callable[[Batch], Tensor]
    ) -> list[tuple[LearnedToken, Tensor, list[Batch]]]:
        """Of each concept that is shown: the sum of the mean losses of its micro-batches, and these."""
        found = []
        for word, parts in zip(self.learned_tokens, zip(*micro, strict=True), strict=True):
            if shown := [part for part in parts if part is not None]:
                found.append((word, sum_of_mean_losses(losses, shown), shown))
        return found

    def _after_step(self, *_: Any) -> None:
        for word in self.learned_tokens:
            word.after_step()


def _mean(found: tuple[LearnedToken, Tensor, list[Batch]]) -> Mean:
    word, loss, parts = found
    return Mean(word.suffix, (loss / len(parts)).detach(), sum(map(len, parts)))


def _joined(vectors: Iterable[Vectors]) -> Vectors:
    return {placeholder: rows for of_one in vectors for placeholder, rows in of_one.items()}
