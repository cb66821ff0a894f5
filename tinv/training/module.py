"""The training step as a LightningModule. Hooks are thin; the computation is in `losses`.

Shapes: B batch, C latent channels, h w latent height and width, K vectors, D width of the text encoder, T timesteps.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from tinv import __version__
from tinv.concept import Concept, names
from tinv.diffusion.loss import DiffusionLoss
from tinv.diffusion.timestep_samplers import UNIFORM, TimestepSampler, resample_levels
from tinv.embeddings import EmbeddingConfig, LearnedToken, guidance_scale_for
from tinv.formats import LearnedEmbedding
from tinv.models import LatentDiffusion
from tinv.models.conditioning import layers_of, predict_with_parts
from tinv.optim import EffectiveBatch, eval_mode, format_schedule, has_eval_mode, inspect_factory
from tinv.seeding import normal_pair
from tinv.token_parts import has_parts
from tinv.training.checkpoint_identity import check_identity, checkpoint_identity
from tinv.training.concept_task import ConceptTask
from tinv.training.microbatches import MeanLoss, MicroBatchMerger, mean_by_concept, sum_of_mean_losses
from tinv.training.regularizers import NO_REGULARIZER, Regularizer
from tinv.types import Batch, OptimizerFactory, SchedulerFactory, Vectors, split_by_concept, to_device


class TextualInversion(LightningModule):
    """Learns the vectors of placeholder tokens; the model is frozen (Gal et al. 2022, arXiv 2208.01618).

    Each step takes a batch of every concept and adds up their losses, so the vectors of each concept get exactly the
    gradient that they get when it is trained alone.
    """

    learned_tokens: list[LearnedToken]
    """A ModuleList with one for each concept, that of `concept` first."""
    last_finite_step: int | None
    """The optimizer step that the vectors were reset to after one that was not finite; None if there was none."""

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
        resume_data: Literal["check", "accept"] = "check",
        timestep_sampler: TimestepSampler = UNIFORM,
        regularizer: Regularizer = NO_REGULARIZER,
        extra_concepts: Sequence[ConceptTask] = (),
    ):
        """Initializes the vectors.

        Args:
            model: the frozen model; modules may share it.
            concept: what to learn.
            embedding: how many vectors, and how they are initialized and constrained.
            loss: returns the loss of each sample.
            optimizer: called with parameter groups.
            scheduler: called with the optimizer; stepped once an optimizer step.
            seed: of the run.
            scale_lr: multiply the learning rate by the effective batch size.
            merge_batches: compute accumulated micro-batches in one forward pass where memory allows.
            resume_data: what to do if a checkpoint was trained on other data: `check` raises, `accept` warns.
            timestep_sampler: the distribution of training timesteps.
            regularizer: a term that is added to the loss of each concept.
            extra_concepts: further concepts to learn in the same run.

        Raises:
            UserError: the model's tokenizers or vocabularies do not fit the settings.
        """
        super().__init__()
        self.model, self.loss, self.regularizer, self.seed = model, loss, regularizer, seed
        self.optimizer, self.scheduler, self.scale_lr = optimizer, scheduler, scale_lr
        self.resume_data = resume_data
        concepts = [concept, *(task.concept for task in extra_concepts)]
        settings = [(embedding, None), *((task.embedding, task.lr) for task in extra_concepts)]
        frozen: dict[str, Any] = {"tokenizers": model.tokenizers, "tables": model.tables}
        frozen |= {"encode_text": model.encode_text}
        frozen |= {"layers": layers_of(model.denoiser) if model.family.has_unet else ()}
        self.learned_tokens = nn.ModuleList(  # type: ignore[assignment]
            LearnedToken(concept, embedding, name=name, lr=lr, seed=seed, **frozen)
            for concept, name, (embedding, lr) in zip(concepts, names(concepts), settings, strict=True)
        )
        self.last_finite_step = None
        self._has_parts = has_parts(_union(token.embedding.vectors() for token in self.learned_tokens))
        loss.check(model.noise_process)
        self._weights_T = timestep_sampler.weights(model.noise_process)
        self._optimizer: Optimizer | None = None
        self._merger = MicroBatchMerger(None if merge_batches and not model.joins_calls else 1)
        self._means: list[MeanLoss] = []

    def losses(self, batch: Batch, vectors: Vectors | None = None, loss: DiffusionLoss | None = None) -> Tensor:
        """Returns the loss [B] of each sample.

        x_0 ~ N(mean, variance) of the image's moments; the model's noise process makes x_t of it and says what the
        denoiser should predict from x_t, t and the encoded caption. Gradients reach the vectors through the text
        encoders. Both random draws depend on the samples' own seeds alone.

        Args:
            batch: moments, captions, timestep levels and seeds.
            vectors: of the learned tokens; None is those in training.
            loss: None is the loss in training.
        """
        vectors = vectors or _union(token.embedding.vectors() for token in self.learned_tokens)
        process = self.model.noise_process
        shape = batch.moments[0].chunk(2)[0].shape
        posterior_BChw, noise_BChw = to_device(normal_pair(batch.noise_seeds.tolist(), shape), self.device)
        clean_BChw = self.model.sample_latents(batch.moments, posterior_BChw)
        t_B = process.timesteps(batch.level, (shape[-2], shape[-1]))
        noisy_BChw = process.add_noise(clean_BChw, noise_BChw, t_B)
        if self._has_parts:
            guidance = guidance_scale_for(self.learned_tokens, batch.captions)
            predicted_BChw = predict_with_parts(self.model, noisy_BChw, t_B, batch, vectors, guidance=guidance)
        else:
            conditioning = self.model.encode_text(batch.captions, vectors)
            predicted_BChw = self.model.predict(noisy_BChw, t_B, conditioning, batch.geometry)
        target_BChw = process.target(clean_BChw, noise_BChw, t_B)
        return (loss or self.loss)(predicted_BChw, target_BChw, t_B=t_B, process=process, mask_B1HW=batch.mask)

    def training_step(self, batch: Batch | Sequence[Batch | None], batch_idx: int) -> Tensor:
        """Returns the sum [] of the mean losses of the micro-batches that are due, and of the regularization terms."""
        accumulate = self.trainer.accumulate_grad_batches
        is_last = (batch_idx + 1) % accumulate == 0 or self.trainer.is_last_batch
        micro_batches = [part and resample_levels(part, self._weights_T) for part in split_by_concept(batch)]
        if accumulate > 1:
            compute = partial(self._concept_losses, [micro_batches], self.losses)
            self._merger.measure(compute, frozen=self.model.parameters(), device=self.device)
        if is_first := batch_idx % accumulate == 0:
            self._means.clear()
        due = self._merger.add(micro_batches, is_first=is_first, is_last=is_last)
        if not due:
            return 0.0 * torch.stack([vectors_KD.sum() for vectors_KD in self.named_vectors().values()]).sum()
        sums, means = self._concept_losses(due, self.losses)
        self._means += means
        if is_last:
            self._log_means("train/loss", self._means)
        return torch.stack([*sums, *(len(due) * term for term in self._regularization_terms())]).sum()

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Runs the backward pass, together with those of other runs if they share the model."""
        self.model.backward(loss)

    def validation_step(self, batch: Batch | Sequence[Batch | None], batch_idx: int) -> None:
        """Logs `val/loss`: the unweighted loss of fixed draws, whatever loss is trained with."""
        compute = partial(self.losses, vectors=self.eval_vectors(), loss=self.loss.unweighted)
        _, means = self._concept_losses([split_by_concept(batch)], compute)
        self._log_means("val/loss", means)
        self.log("step", float(self.global_step), batch_size=len(means))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Logs the learning rate of the coming step; `d` is Prodigy's estimate of it."""
        for token, group in zip(self.learned_tokens, self.trainer.optimizers[0].param_groups, strict=True):
            self.log(f"train/lr{token.suffix}", group["lr"] * group.get("d", 1.0), prog_bar=True, batch_size=1)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Makes Lightning validate after the last step even if the interval does not divide the number of steps."""
        if self.global_step >= self.trainer.max_steps:
            self.trainer.should_stop = True

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clips the gradients of each concept separately, so that one concept does not shrink those of another."""
        groups = optimizer.param_groups
        for group in groups:
            optimizer.param_groups = [group]
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        optimizer.param_groups = groups

    def configure_optimizers(self) -> Any:
        """Returns an optimizer with a parameter group for each concept, and its scheduler."""
        batches = self.effective_batches(self.trainer, self.trainer.datamodule)  # type: ignore[attr-defined]
        groups = [
            {"params": [*token.embedding.parameters()], "lr": batch.scaled_lr}
            for token, batch in zip(self.learned_tokens, batches, strict=True)
        ]
        optimizer = self._optimizer = self.optimizer(groups, lr=batches[0].scaled_lr)
        for token in self.learned_tokens:
            token.set_max_steps(self.trainer.max_steps)
        if any(token.norm_constraint or token.average is not None for token in self.learned_tokens):
            optimizer.register_step_post_hook(self._after_step)
        if has_eval_mode(optimizer):
            optimizer.train()  # type: ignore[attr-defined]
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"}}

    def effective_batches(self, trainer: Trainer, data: Any) -> list[EffectiveBatch]:
        """Returns the effective batch size and learning rate of each concept, for a trainer and its datamodule."""
        lr = signature(self.optimizer).parameters["lr"].default
        return [
            EffectiveBatch(
                batch_size=part.batch_size,
                accumulate_grad_batches=trainer.accumulate_grad_batches,
                world_size=trainer.world_size,
                lr=lr if token.lr is None else token.lr,
                scale_lr=self.scale_lr,
                schedule=format_schedule(inspect_factory(self.scheduler)[1].get("schedule", [])) or None,
            )
            for token, part in zip(self.learned_tokens, data.datamodules, strict=True)
        ]

    def named_vectors(self) -> dict[str, nn.Parameter]:
        """Returns every trained parameter [K, D] with its name for messages."""
        return {
            f"{name}{f' of {token.placeholder_token}' if token.name else ''}": vectors_KD
            for token in self.learned_tokens
            for name, vectors_KD in token.embedding.named_parameters()
        }

    def named_parts(self) -> dict[str, tuple[str, ...]]:
        """Returns the timestep stages or layers that each parameter has vectors for; none for ordinary embeddings."""
        parts = [token.embedding.parts for token in self.learned_tokens for _ in token.embedding.parameters()]
        return dict(zip(self.named_vectors(), parts, strict=True))

    def eval_vectors(self) -> Vectors:
        """Returns the vectors to save, sample and validate with: those in training, or their average if one is kept."""
        if self._optimizer is None or not has_eval_mode(self._optimizer):
            return _union(token.eval_vectors() for token in self.learned_tokens)
        with eval_mode(self._optimizer):
            vectors = _union(token.eval_vectors() for token in self.learned_tokens)
            return {name: {key: v.detach().clone() for key, v in by_key.items()} for name, by_key in vectors.items()}

    def export_vectors(self) -> Vectors:
        """Returns `eval_vectors` as detached float32 copies on the CPU."""
        return {
            token: {encoder: vectors_KD.detach().float().cpu().clone() for encoder, vectors_KD in by_encoder.items()}
            for token, by_encoder in self.eval_vectors().items()
        }

    def learned_embeddings(self) -> list[LearnedEmbedding]:
        """Returns the learned embedding of each concept, with metadata about the model and the run."""
        step = self.global_step if self.last_finite_step is None else self.last_finite_step
        metadata = {**self.model.metadata(), "steps": str(step), "seed": str(self.seed), "tinv_version": __version__}
        vectors, embeddings = self.export_vectors(), []
        for token in self.learned_tokens:
            own = {"kind": token.concept.kind, "initializer_token": token.initializer_token or ""}
            if token.guidance_scale is not None:
                own["guidance_scale"] = str(token.guidance_scale)
            name = token.placeholder_token
            embeddings.append(LearnedEmbedding(name, vectors[name], {**metadata, **own}))
        return embeddings

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Returns the vectors and their averages; checkpoints do not contain the frozen model."""
        return self.learned_tokens.state_dict(*args, **kwargs)  # type: ignore[attr-defined]

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Loads what `state_dict` returns."""
        return self.learned_tokens.load_state_dict(state_dict, strict=strict, assign=assign)  # type: ignore[attr-defined]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the identity of the run."""
        checkpoint["tinv"] = checkpoint_identity(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Checks that the checkpoint belongs to this run.

        Raises:
            UserError: it does not; names every difference.
        """
        accept_data = self.resume_data == "accept"
        check_identity(checkpoint.get("tinv"), checkpoint_identity(self), accept_data=accept_data)

    def _concept_losses(
        self, micro_batches: Sequence[Sequence[Batch | None]], losses: Callable[[Batch], Tensor]
    ) -> tuple[list[Tensor], list[MeanLoss]]:
        """Returns for each concept in the micro-batches the sum of their mean losses, and its mean for the log."""
        sums, means = [], []
        for token, parts in zip(self.learned_tokens, zip(*micro_batches, strict=True), strict=True):
            if batches := [part for part in parts if part is not None]:
                sums.append(sum_of_mean_losses(losses, batches))
                mean = (sums[-1] / len(batches)).detach()
                means.append(MeanLoss(token.suffix, mean, num_samples=sum(map(len, batches))))
        return sums, means

    def _regularization_terms(self) -> Iterator[Tensor]:
        for token in self.learned_tokens:
            term = self.regularizer(token, self.model, seed=self.seed, step=self.global_step)
            if term is not None:
                self.log(f"train/regularizer{token.suffix}", term.detach(), batch_size=1)
                yield term

    def _log_means(self, name: str, means: Iterable[MeanLoss]) -> None:
        for key, (mean, num_samples) in mean_by_concept(name, means).items():
            self.log(key, mean, batch_size=num_samples, prog_bar=key == name, sync_dist=True)

    def _after_step(self, *_: Any) -> None:
        for token in self.learned_tokens:
            token.after_step()


def _union(vectors: Iterable[Vectors]) -> Vectors:
    return {token: by_encoder for of_token in vectors for token, by_encoder in of_token.items()}
