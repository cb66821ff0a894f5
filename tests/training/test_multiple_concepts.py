"""Several concepts in one run: each learns, to the last bit, what it would learn alone."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image

from tests.tiny import tiny_data, tiny_module, tiny_trainer
from tinv.concept import Concept
from tinv.data.datamodule import MultiConceptDataModule
from tinv.diffusion.timestep_samplers import CosineTimesteps
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError
from tinv.optim import RiemannianSGD
from tinv.training.callbacks import CheckLearning, StopOnNonFinite
from tinv.training.callbacks.check_learning import StuckError
from tinv.training.callbacks.nonfinite import NonFiniteError
from tinv.training.concept_task import ConceptTask, captions_with_tokens, find_conflicts
from tinv.training.module import TextualInversion
from tinv.training.regularizers import ContextRegularizer

CAT = Concept(placeholder_token="<cat-toy>", initializer_token="toy")
DOG = Concept(placeholder_token="<my-dog>", initializer_token="dog")
ADAM = partial(torch.optim.AdamW, lr=5e-3, weight_decay=0.1)


@pytest.fixture(scope="module")
def cats(model, tmp_path_factory):
    return tiny_data(tmp_path_factory.mktemp("cats"), model, concept=CAT)


@pytest.fixture(scope="module")
def dogs(model, tmp_path_factory):
    """Other pictures, in other sizes and cuts: what a concept shows does not have to fit what others show."""
    folder = tmp_path_factory.mktemp("dogs")
    data = tiny_data(folder, model, concept=DOG)
    for path in data.images:
        Image.open(path).rotate(90, expand=True).save(path)
    return tiny_data(folder, model, concept=DOG, batch_size=3, val_draws=5, flip=True, resolution=48, fit="squash")


def fit(module: TextualInversion, parts: list[Any], max_steps: int = 4, **options: Any) -> Trainer:
    callbacks, resume = options.pop("callbacks", []), options.pop("resume", None)
    trainer = tiny_trainer(max_steps=max_steps, callbacks=callbacks, **options)
    trainer.fit(module, MultiConceptDataModule(parts), ckpt_path=resume, weights_only=True)
    return trainer


def dog(dogs: Any, lr: float | None = None, **embedding: Any) -> ConceptTask:
    return ConceptTask(concept=DOG, data=dogs, embedding=EmbeddingConfig(**embedding), lr=lr)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"trainer": {"accumulate_grad_batches": 2}, "scale_lr": True},
        {"trainer": {"accumulate_grad_batches": 4}, "merge_batches": True},
        {"trainer": {"gradient_clip_val": 1e-5}, "optimizer": partial(torch.optim.SGD, lr=1.0)},
        {"dog": {"norm": "fixed", "ema": 0.5}},
        {"cat": {"norm": "soft", "ema": 0.9}, "dog": {"init": "random"}},
        {"cat": {"init": "cross"}, "dog": {"init": "vocabulary"}, "timestep_sampler": CosineTimesteps()},
        {"regularizer": ContextRegularizer(weight=1.0), "dog": {"num_vectors": 2}},
        {"cat": {"norm": "directional"}, "dog": {"norm": "directional"}, "optimizer": partial(RiemannianSGD, lr=0.1)},
        {"cat": {"num_negative_vectors": 2}},
        {"cat": {"timestep_stages": 5}},
        {"cat": {"per_layer": True}, "dog": {"timestep_stages": 3}},
    ],
    ids=[
        *["plain", "accumulated", "merged", "clipped", "held", "averaged", "started", "regularized", "turned"],
        *["num_negative_vectors", "timestep_stages", "per_layer"],
    ],
)
def test_two_concepts_together_learn_what_each_learns_alone_to_the_last_bit(model, cats, dogs, options):
    trainer, rate = options.get("trainer", {}), 1e-2
    common = {"optimizer": ADAM} | {k: v for k, v in options.items() if k not in ("trainer", "cat", "dog")}
    of_cat, of_dog = {"num_vectors": 2, **options.get("cat", {})}, {"num_vectors": 3, **options.get("dog", {})}
    both = tiny_module(model, concept=CAT, extra_concepts=[dog(dogs, rate, **of_dog)], **of_cat, **common)
    together = fit(both, [cats, dogs], **trainer)
    cat = partial(tiny_module, model, concept=CAT, **of_cat, **common)
    other = partial(
        tiny_module, model, concept=DOG, **of_dog, **common | {"optimizer": partial(common["optimizer"], lr=rate)}
    )
    modules = [cat(), other()]
    alone = [fit(module, [data], **trainer) for module, data in zip(modules, (cats, dogs), strict=True)]
    for module, start in zip(modules, (cat(), other()), strict=True):
        ((word, rows),) = module.export_vectors().items()
        assert all(torch.equal(both.export_vectors()[word][name], rows[name]) for name in rows)
        assert not all(torch.equal(start.vectors()[word][name], rows[name]) for name in rows)
    for trainer_alone, name in zip(alone, ("cat-toy", "my-dog"), strict=True):
        for number in ("train/loss", "train/lr", "val/loss"):
            assert together.callback_metrics[f"{number}/{name}"] == trainer_alone.callback_metrics[number]


def test_the_plain_numbers_are_means_over_what_is_shown_of_all(model, cats, dogs):
    metrics = fit(tiny_module(model, extra_concepts=[dog(dogs)]), [cats, dogs]).callback_metrics
    for name, (of_cat, of_dog) in {"train/loss": (2, 3), "val/loss": (4, 5)}.items():
        parts = of_cat * metrics[f"{name}/cat-toy"] + of_dog * metrics[f"{name}/my-dog"]
        assert metrics[name].item() == pytest.approx((parts / (of_cat + of_dog)).item(), rel=1e-6)


def test_a_run_of_one_has_no_names_in_its_numbers_and_tensors(model, cats):
    module = tiny_module(model)
    metrics = fit(module, [cats]).callback_metrics
    assert set(metrics) == {"train/loss", "train/lr", "val/loss", "step"}
    assert list(module.state_dict()) == ["embedding.weights.clip_l"]
    assert list(module.named_vectors()) == ["rows.clip_l"]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_of_two_is_the_uninterrupted_one_to_the_last_bit(model, cats, dogs, tmp_path, accumulate):
    def module() -> TextualInversion:
        return tiny_module(model, concept=CAT, extra_concepts=[dog(dogs, 1e-2, num_vectors=2, ema=0.5)], optimizer=ADAM)

    options = {"accumulate_grad_batches": accumulate}
    whole, half, resumed = module(), module(), module()
    fit(whole, [cats, dogs], 5, **options)
    fit(half, [cats, dogs], 2, **options).save_checkpoint(tmp_path / "half.ckpt")
    fit(resumed, [cats, dogs], 5, resume=tmp_path / "half.ckpt", **options)
    assert whole.state_dict().keys() == resumed.state_dict().keys()
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())


def test_a_checkpoint_with_other_concepts_is_refused_by_their_names(model, cats, dogs, tmp_path):
    alone, both = tiny_module(model, concept=CAT), tiny_module(model, concept=CAT, extra_concepts=[dog(dogs)])
    fit(alone, [cats], 1).save_checkpoint(tmp_path / "alone.ckpt")
    fit(both, [cats, dogs], 1).save_checkpoint(tmp_path / "both.ckpt")
    with pytest.raises(UserError, match="another run: it knows nothing of <my-dog>, which is learned now; set"):
        fit(
            tiny_module(model, concept=CAT, extra_concepts=[dog(dogs)]), [cats, dogs], 2, resume=tmp_path / "alone.ckpt"
        )
    with pytest.raises(UserError, match="another run: it learned <my-dog>, too, which is not learned now; set"):
        fit(tiny_module(model, concept=CAT), [cats], 2, resume=tmp_path / "both.ckpt")
    changed = tiny_module(model, concept=CAT, extra_concepts=[dog(dogs, 0.1, num_vectors=2)])
    with pytest.raises(UserError, match=r"vectors of <my-dog> was .*; learning rate of <my-dog> was 0.005 and is 0.1;"):
        fit(changed, [cats, dogs], 2, resume=tmp_path / "both.ckpt")


class _Spoil(Callback):
    """Multiplies the gradient of one concept."""

    def __init__(self, factor: float):
        self.factor = factor

    def on_after_backward(self, trainer: Trainer, pl_module: Any) -> None:
        for rows in pl_module.learned_tokens[1].embedding.parameters():
            rows.grad *= self.factor


def test_the_guards_name_the_concept(model, cats, dogs):
    def run(factor: float, guard: Callback) -> None:
        fit(tiny_module(model, extra_concepts=[dog(dogs)]), [cats, dogs], callbacks=[_Spoil(factor), guard])

    with pytest.raises(NonFiniteError, match=r"^the gradient of rows\.clip_l of <my-dog> became"):
        run(float("nan"), StopOnNonFinite())
    with pytest.raises(
        StuckError, match=r"2 optimizer steps rows.clip_l of <my-dog> \(the one vector\) had no gradient"
    ):
        run(0.0, CheckLearning(after_steps=2))


def test_a_caption_with_two_words_teaches_both(model, cats, tmp_path):
    """What is written beside a picture counts, also for the word of another concept; it is told of."""
    tiny_data(tmp_path, model)
    for path in tmp_path.glob("*.png"):
        path.with_suffix(".txt").write_text("a {} on a <cat-toy>")
    data = tiny_data(tmp_path, model, concept=DOG, captions="files")
    lesson = dog(data)
    assert captions_with_tokens(lesson, ["<cat-toy>", "<my-dog>"]) == {"<cat-toy>": ["a <my-dog> on a <cat-toy>"]}
    both, alone = tiny_module(model, extra_concepts=[lesson]), tiny_module(model)
    fit(both, [cats, data])
    fit(alone, [cats])
    assert not torch.equal(both.export_vectors()["<cat-toy>"]["clip_l"], alone.export_vectors()["<cat-toy>"]["clip_l"])


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "<cat-toy>",
            "concept.placeholder_token and extra_concepts.b.concept.placeholder_token are both <cat-toy>; call one",
        ),
        ("cat-to", "the one is a part of the other"),  # E-10: `zorg` in `zorgon`
        ("[cat-toy]", "both would have the folder concepts/cat-toy"),
    ],
)
def test_words_that_others_would_mix_up_are_refused(word, said):
    (problem,) = find_conflicts(
        {"concept": CAT, "extra_concepts.b.concept": Concept(placeholder_token=word, initializer_token="cat")}
    )
    assert said in problem
    assert not list(find_conflicts({"concept": CAT, "extra_concepts.b.concept": DOG}))


def test_a_rate_of_zero_is_none(dogs: Any, tmp_path: Path):
    with pytest.raises(UserError, match="lr must be above 0, got 0"):
        dog(dogs, 0.0)
