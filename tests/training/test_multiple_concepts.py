"""Several concepts in one run: each learns, to the last bit, what it learns alone."""

from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from PIL import Image

from tests.resuming import run_and_resume
from tests.tiny import CAT, exported, tiny_data, tiny_module
from tests.tiny import fit as fit_with
from tinv.concept import Concept
from tinv.data.datamodule import MultiConceptDataModule
from tinv.diffusion.timestep_samplers import CosineTimesteps
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError
from tinv.optim import RiemannianSGD
from tinv.training.callbacks import CheckLearning, StopOnNonFinite
from tinv.training.callbacks.check_learning import NotLearningError
from tinv.training.callbacks.nonfinite import NonFiniteError
from tinv.training.concept_task import ConceptTask, captions_with_tokens, find_conflicts
from tinv.training.module import TextualInversion
from tinv.training.regularizers import ContextRegularizer

DOG = Concept(placeholder_token="<my-dog>", initializer_token="dog")
ADAM = partial(torch.optim.AdamW, lr=5e-3, weight_decay=0.1)


@pytest.fixture(scope="module")
def cats(model, tmp_path_factory):
    return tiny_data(tmp_path_factory.mktemp("cats"), model)


@pytest.fixture(scope="module")
def dogs(model, tmp_path_factory):
    """Images in other sizes and crops: concepts need not have the same data settings."""
    folder = tmp_path_factory.mktemp("dogs")
    for path in tiny_data(folder, model, concept=DOG).images:
        Image.open(path).rotate(90, expand=True).save(path)
    return tiny_data(folder, model, concept=DOG, batch_size=3, val_draws=5, flip=True, resolution=48, fit="squash")


def fit(module: TextualInversion, parts: list[Any], max_steps: int = 4, **options: Any) -> Trainer:
    return fit_with(module, MultiConceptDataModule(parts), max_steps, **options)


def dog_task(dogs: Any, lr: float | None = None, **embedding: Any) -> ConceptTask:
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
    ids=lambda options: "-".join(options) or "plain",
)
def test_two_concepts_learn_bit_for_bit_what_each_learns_alone(model, cats, dogs, options):
    trainer, cat, dog = ({**default, **options.pop(key, {})} for key, default in _DEFAULTS.items())
    settings = {"optimizer": ADAM, **options}
    joint = tiny_module(model, extra_concepts=[dog_task(dogs, 1e-2, **dog)], **cat, **settings)
    metrics = fit(joint, [cats, dogs], **trainer).callback_metrics
    other = settings | {"optimizer": partial(settings["optimizer"], lr=1e-2)}
    for make, data, name in (
        (partial(tiny_module, model, **cat, **settings), cats, "cat-toy"),
        (partial(tiny_module, model, concept=DOG, **dog, **other), dogs, "my-dog"),
    ):
        start, single = make(), make()
        expected = fit(single, [data], **trainer).callback_metrics
        ((token, vectors),) = single.export_vectors().items()
        assert all(torch.equal(joint.export_vectors()[token][key], value) for key, value in vectors.items())
        assert not all(torch.equal(start.export_vectors()[token][key], value) for key, value in vectors.items())
        for metric in ("train/loss", "train/lr", "val/loss"):
            assert metrics[f"{metric}/{name}"] == expected[metric]


_DEFAULTS: dict[str, dict[str, Any]] = {"trainer": {}, "cat": {"num_vectors": 2}, "dog": {"num_vectors": 3}}


def test_metrics_without_a_name_are_means_over_all_samples(model, cats, dogs):
    metrics = fit(tiny_module(model, extra_concepts=[dog_task(dogs)]), [cats, dogs]).callback_metrics
    for name, (num_cats, num_dogs) in {"train/loss": (2, 3), "val/loss": (4, 5)}.items():
        total = num_cats * metrics[f"{name}/cat-toy"] + num_dogs * metrics[f"{name}/my-dog"]
        assert metrics[name].item() == pytest.approx((total / (num_cats + num_dogs)).item(), rel=1e-6)


def test_run_of_one_concept_has_no_concept_names_in_metrics_and_parameters(model, cats):
    module = tiny_module(model)
    assert set(fit(module, [cats]).callback_metrics) == {"train/loss", "train/lr", "val/loss", "step"}
    assert list(module.named_vectors()) == ["weights.clip_l"]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_resumed_run_is_bit_identical(model, cats, dogs, tmp_path, accumulate):
    task = dog_task(dogs, 1e-2, num_vectors=2, ema=0.5)
    make, data = (
        partial(tiny_module, model, extra_concepts=[task], optimizer=ADAM),
        MultiConceptDataModule([cats, dogs]),
    )
    run_and_resume(make, data, tmp_path, at=2, max_steps=5, accumulate_grad_batches=accumulate).assert_equal()


@pytest.mark.parametrize(
    ("tasks_before", "tasks_now", "message"),
    [
        ([], [{}], "another run: it does not contain <my-dog>, which this run learns. Restore"),
        ([{}], [], "another run: it contains <my-dog>, which this run does not learn. Restore"),
        (
            [{}],
            [{"lr": 0.1, "num_vectors": 2}],
            r"vectors of <my-dog> was .*; learning rate of <my-dog> was 0.005 and is 0.1\.",
        ),
    ],
)
def test_checkpoint_with_other_concepts_is_rejected(model, cats, dogs, tmp_path, tasks_before, tasks_now, message):
    def module(tasks):
        return tiny_module(model, extra_concepts=[dog_task(dogs, **task) for task in tasks])

    fit(module(tasks_before), [cats, dogs][: 1 + len(tasks_before)], 1).save_checkpoint(tmp_path / "one.ckpt")
    with pytest.raises(UserError, match=message):
        fit(module(tasks_now), [cats, dogs][: 1 + len(tasks_now)], 2, resume=tmp_path / "one.ckpt")


class _ScaleGradient(Callback):
    """Multiplies the gradient of the second concept."""

    def __init__(self, factor: float):
        self.factor = factor

    def on_after_backward(self, trainer: Trainer, pl_module: Any) -> None:
        for parameter in pl_module.learned_tokens[1].embedding.parameters():
            parameter.grad *= self.factor


@pytest.mark.parametrize(
    ("factor", "guard", "error"),
    [(float("nan"), StopOnNonFinite(), NonFiniteError), (0.0, CheckLearning(after_steps=2), NotLearningError)],
)
def test_guards_name_the_concept(model, cats, dogs, factor, guard, error):
    module = tiny_module(model, extra_concepts=[dog_task(dogs)])
    with pytest.raises(error, match=r"weights\.clip_l of <my-dog>"):
        fit(module, [cats, dogs], callbacks=[_ScaleGradient(factor), guard])


def test_caption_with_two_tokens_teaches_both(model, cats, tmp_path):
    tiny_data(tmp_path, model)
    for path in tmp_path.glob("*.png"):
        path.with_suffix(".txt").write_text("a {} on a <cat-toy>")
    data = tiny_data(tmp_path, model, concept=DOG, captions="files")
    task = dog_task(data)
    assert captions_with_tokens(task, ["<cat-toy>", "<my-dog>"]) == {"<cat-toy>": ["a <my-dog> on a <cat-toy>"]}
    joint, alone = tiny_module(model, extra_concepts=[task]), tiny_module(model)
    fit(joint, [cats, data])
    fit(alone, [cats])
    assert not torch.equal(exported(joint), exported(alone))


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("<cat-toy>", "both concepts have the same token"),
        ("cat-to", "one token contains the other"),
        ("[cat-toy]", "both concepts would be saved in concepts/cat-toy"),
        ("<my-dog>", None),
    ],
)
def test_tokens_that_programs_would_confuse_are_rejected(token, message):
    other = Concept(placeholder_token=token, initializer_token="cat")
    problems = list(find_conflicts({"concept": CAT, "extra_concepts.b.concept": other}))
    if message is None:
        assert not problems
    else:
        (problem,) = problems
        assert problem.startswith("concept.placeholder_token=<cat-toy>, extra_concepts.b.concept.placeholder_token=")
        assert message in problem


def test_learning_rate_must_be_above_0(dogs):
    with pytest.raises(UserError, match=r"lr=0\.0: must be above 0"):
        dog_task(dogs, 0.0)
