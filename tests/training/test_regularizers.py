"""Regularizers: value, gradient, logging, and that nothing else changes."""

import pytest
import torch
from lightning.pytorch import Callback

from tests.tiny import exported, fit, tiny_data, tiny_module, weights
from tinv.concept import Concept
from tinv.config.validate import ConfigError
from tinv.data.captions import CONTEXT_TEMPLATES, read_templates
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError
from tinv.training.preflight import preflight
from tinv.training.regularizers import NO_REGULARIZER, ContextRegularizer, L2ToInitRegularizer


def make_token(model, initializer_token="toy", **settings):
    concept = Concept(placeholder_token="<cat-toy>", initializer_token=initializer_token)
    return tiny_module(model, concept=concept, **settings).learned_tokens[0]


def offset(scale=1.0, count=1):
    """[count, D]; random, because a layer norm would remove a constant."""
    return scale * torch.randn(count, 32, generator=torch.Generator().manual_seed(0))


def move(token, by):
    with torch.no_grad():
        for vectors in token.embedding.parameters():
            vectors.add_(by)
    return token


def evaluate(regularizer, token, model, step=0):
    """The term, and its gradient [K, D]."""
    token.zero_grad()
    term = regularizer(token, model, seed=0, step=step)
    term.backward()
    return term.item(), token.embedding.weights["clip_l"].grad.clone()


def test_l2_is_zero_at_the_start_and_has_a_gradient_of_constant_norm(model):
    token, regularizer = make_token(model, num_vectors=2), L2ToInitRegularizer(weight=0.5)
    value, grad = evaluate(regularizer, token, model)
    assert value == 0 and not grad.any()
    direction = offset(count=2)
    for distance in (1.0, 10.0):
        move(token, distance * direction)
        value, grad = evaluate(regularizer, token, model)
        move(token, -distance * direction)
        assert value == pytest.approx(0.5 * distance * direction.norm(dim=1).mean().item(), rel=1e-4)
        expected = 0.5 / 2 * direction / direction.norm(dim=1, keepdim=True)
        torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("initializer", "settings"), [("toy", {}), ("red cat", {"init": "phrase", "num_vectors": 2})])
def test_context_of_the_initializer_itself_costs_nothing(model, initializer, settings):
    for step in range(10):
        token = make_token(model, initializer, **settings)
        value, grad = evaluate(ContextRegularizer(weight=1.0), token, model, step)
        assert abs(value) < 1e-6 and grad.abs().max() < 1e-4


def test_minimizing_the_context_term_restores_the_context(model):
    regularizer, token = ContextRegularizer(weight=1.0, num_prompts=8), move(make_token(model), offset(0.3))
    optimizer, values = torch.optim.Adam(token.embedding.parameters(), lr=1e-2), []
    for step in range(60):
        optimizer.zero_grad()
        term = regularizer(token, model, seed=0, step=step)
        term.backward()
        optimizer.step()
        values.append(term.item())
    assert values[0] > 1e-4 and sum(values[-5:]) < 0.3 * sum(values[:5])


def test_context_is_compared_token_by_token(model, tmp_path):
    """By hand: "a photo of a red dog on beach" against "... toy on beach", from `on` to the end of the text."""
    (tmp_path / "own.txt").write_text("a photo of a {} on beach\n")
    token = make_token(model, num_vectors=2)
    with torch.no_grad():
        token.embedding.weights["clip_l"].copy_(model.tables["clip_l"][model.tokenizer("red dog").input_ids[1:3]])
    regularizer = ContextRegularizer(weight=2.0, templates_file=str(tmp_path / "own.txt"))
    value, _ = evaluate(regularizer, token, model)

    def encode(text):
        ids = model.tokenizer(text, padding="max_length", return_tensors="pt").input_ids
        with torch.no_grad():
            return model.text_encoder(ids).last_hidden_state[0]

    learned, target = encode("a photo of a red dog on beach")[7:10], encode("a photo of a toy on beach")[6:9]
    assert value == pytest.approx(2 * (1 - torch.cosine_similarity(learned, target, dim=1)).mean().item(), rel=1e-4)


def test_prompts_depend_on_the_step_alone(model):
    token = move(make_token(model), offset(0.3))
    values, again = ([evaluate(ContextRegularizer(), token, model, step)[0] for step in range(6)] for _ in range(2))
    assert len(set(values)) > 3
    assert values == again


def test_every_built_in_prompt_has_text_after_the_token():
    prompts = read_templates(CONTEXT_TEMPLATES)
    assert len(set(prompts)) == len(prompts) >= 60
    assert all(prompt.partition("{}")[2].strip() for prompt in prompts)


class _Record(Callback):
    """Records the metrics of every batch, and the gradient of every step."""

    def __init__(self):
        self.metrics, self.gradients = {}, []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.gradients.append(weights(module).grad.clone())

    def on_train_batch_end(self, trainer, module, *_):
        for name in {"train/loss", "train/regularizer"} & trainer.callback_metrics.keys():
            self.metrics.setdefault(name, []).append(trainer.callback_metrics[name].item())


@pytest.mark.parametrize("regularizer", [L2ToInitRegularizer(weight=1.0), ContextRegularizer(weight=10.0)])
def test_term_changes_the_vectors_and_has_its_own_metric(model, tmp_path, regularizer):
    records, modules = [_Record(), _Record()], []
    for record, chosen in zip(records, (NO_REGULARIZER, regularizer), strict=True):
        modules.append(tiny_module(model, regularizer=chosen))
        fit(modules[-1], tiny_data(tmp_path, model), callbacks=[record])
    plain, regularized = (record.metrics for record in records)
    assert "train/regularizer" not in plain
    assert regularized["train/loss"][0] == plain["train/loss"][0], "train/loss is that of the images alone"
    assert regularized["train/regularizer"][-1] > 0
    assert not torch.equal(*map(exported, modules))


def test_val_loss_is_that_of_the_images_alone(model, tmp_path):
    """Vectors that do not move have one val/loss, whatever is added to the training loss."""
    losses = []
    for regularizer in (NO_REGULARIZER, ContextRegularizer(weight=10.0)):
        module = tiny_module(model, regularizer=regularizer)
        losses.append(fit(module, tiny_data(tmp_path, model), gradient_clip_val=1e-30).callback_metrics["val/loss"])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("merge_batches", [False, True])
def test_accumulated_step_counts_the_term_once(model, tmp_path, merge_batches):
    record = _Record()
    for accumulate in (1, 4):
        module = tiny_module(model, regularizer=ContextRegularizer(weight=1e6), merge_batches=merge_batches)
        move(module.learned_tokens[0], offset(0.1))
        trainer = {"accumulate_grad_batches": accumulate, "limit_val_batches": 0, "callbacks": [record]}
        fit(module, tiny_data(tmp_path, model), 1, **trainer)
    single, accumulated = record.gradients
    torch.testing.assert_close(single, accumulated, rtol=1e-2, atol=1e-2 * single.abs().max().item())


@pytest.mark.parametrize(
    ("concept", "embedding", "prompts", "message"),
    [
        ({"initializer_token": None}, {"init": "random"}, None, "concept.initializer_token, which is null"),
        ({"kind": "style"}, {}, None, "concept.kind is style"),
        ({}, {"timestep_stages": 10}, None, "vectors per timestep or per layer"),
        ({}, {}, "a photo of a {}\n", r"own\.txt: no prompt has text after \{\}"),
    ],
)
def test_context_regularizer_rejects_what_it_cannot_compare(tmp_path, concept, embedding, prompts, message):
    (tmp_path / "own.txt").write_text(prompts or "")
    regularizer = ContextRegularizer(templates_file=str(tmp_path / "own.txt") if prompts else None)
    settings = {"placeholder_token": "<x>", "initializer_token": "toy", **concept}
    with pytest.raises(UserError, match=message):
        regularizer.check(Concept(**settings), EmbeddingConfig(**embedding))


def test_preflight_checks_the_regularizer_of_every_concept(compose):
    robot = "extra_concepts.robot"
    overrides = [f"{robot}.concept.initializer_token=null", f"{robot}.embedding.init=random", "regularizer=context"]
    with pytest.raises(ConfigError, match=r"extra_concepts\.robot: regularizer=context: "):
        preflight(compose("+experiment=two_toys", *overrides))


@pytest.mark.parametrize(
    ("regularizer", "settings", "message"),
    [
        (L2ToInitRegularizer, {"weight": 0}, "regularizer.weight=0: must be above 0"),
        (ContextRegularizer, {"weight": -1}, "regularizer.weight=-1: must be above 0"),
        (ContextRegularizer, {"num_prompts": 0}, "regularizer.num_prompts=0: must be 1 or more"),
    ],
)
def test_settings_out_of_range_are_rejected(regularizer, settings, message):
    with pytest.raises(UserError, match=message):
        regularizer(**settings)
