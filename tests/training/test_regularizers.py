"""What is minimised beside the loss of the pictures: its value, its pull, and that nothing else feels it."""

import pytest
import torch
from lightning.pytorch import Callback

from tests.tiny import tiny_data, tiny_module, tiny_trainer
from tinv.concept import Concept
from tinv.config.validate import ConfigError
from tinv.data.captions import CONTEXT_TEMPLATES, read_templates
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError
from tinv.training.preflight import preflight
from tinv.training.regularizers import NO_REGULARIZER, ContextRegularizer, L2ToInitRegularizer

CAT = "+experiment=cat_toy"


def word_of(model, initializer_token="toy", **settings):
    return tiny_module(
        model, concept=Concept(placeholder_token="<cat-toy>", initializer_token=initializer_token), **settings
    ).learned_tokens[0]


def away(far=1.0, count=1):
    """Somewhere else; not the same number everywhere, which a layer norm would take out."""
    return far * torch.randn(count, 32, generator=torch.Generator().manual_seed(0))


def moved(word, by):
    with torch.no_grad():
        for rows in word.embedding.parameters():
            rows.add_(by)
    return word


def of(regularizer, word, model, step=0):
    """Its value, and its gradient of the rows."""
    word.zero_grad()
    value = regularizer(word, model, seed=0, step=step)
    value.backward()
    return value.item(), word.embedding.weights["clip_l"].grad.clone()


def test_the_distance_is_nothing_at_the_start_and_pulls_to_it_with_its_weight(model):
    word = word_of(model, num_vectors=2)
    value, gradient = of(L2ToInitRegularizer(weight=0.5), word, model)
    assert value == 0 and not gradient.any()
    direction = away(count=2)
    for far in (1.0, 10.0):
        moved(word, far * direction)
        value, gradient = of(L2ToInitRegularizer(weight=0.5), word, model)
        moved(word, -far * direction)
        assert value == pytest.approx(0.5 * far * direction.norm(dim=1).mean().item(), rel=1e-4)
        expected = 0.5 / 2 * direction / direction.norm(dim=1, keepdim=True)
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("initializer_token", "settings"), [("toy", {}), ("red cat", {"init": "phrase", "num_vectors": 2})]
)
def test_the_context_of_the_ordinary_word_itself_costs_nothing(model, initializer_token, settings):
    for step in range(10):
        value, gradient = of(ContextRegularizer(weight=1.0), word_of(model, initializer_token, **settings), model, step)
        assert abs(value) < 1e-6 and gradient.abs().max() < 1e-4


def test_another_word_costs_and_going_downhill_brings_its_context_back(model):
    regularizer = ContextRegularizer(weight=1.0, num_prompts=8)
    word = moved(word_of(model), away(0.3))
    optimizer, values = torch.optim.Adam(word.embedding.parameters(), lr=1e-2), []
    for step in range(60):
        optimizer.zero_grad()
        value = regularizer(word, model, seed=0, step=step)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[0] > 1e-4 and sum(values[-5:]) < 0.3 * sum(values[:5])


def test_the_context_is_compared_token_by_token_as_transformers_reads_it(model, tmp_path):
    """One prompt by hand: "a photo of a red dog on beach" against "... toy on beach", from `on` to the text's end."""
    own = tmp_path / "own.txt"
    own.write_text("a photo of a {} on beach\n")
    concept = Concept(placeholder_token="<cat-toy>", initializer_token="toy")
    word = tiny_module(model, concept=concept, num_vectors=2).learned_tokens[0]
    with torch.no_grad():
        word.embedding.weights["clip_l"].copy_(model.tables["clip_l"][model.tokenizer("red dog").input_ids[1:3]])
    value, _ = of(ContextRegularizer(weight=2.0, templates_file=str(own)), word, model)

    def read(text):
        ids = model.tokenizer(text, padding="max_length", return_tensors="pt").input_ids
        with torch.no_grad():
            return model.text_encoder(ids).last_hidden_state[0]

    one, other = read("a photo of a red dog on beach")[7:10], read("a photo of a toy on beach")[6:9]
    assert value == pytest.approx(2 * (1 - torch.cosine_similarity(one, other, dim=1)).mean().item(), rel=1e-4)


def test_each_step_draws_its_prompts_and_a_resumed_run_draws_the_same(model):
    word = moved(word_of(model), away(0.3))
    values = [of(ContextRegularizer(), word, model, step)[0] for step in range(6)]
    assert len(set(values)) > 3
    assert values == [of(ContextRegularizer(), word, model, step)[0] for step in range(6)]


def test_every_prompt_says_something_behind_the_word():
    prompts = read_templates(CONTEXT_TEMPLATES)
    assert len(set(prompts)) == len(prompts) >= 60
    assert all(prompt.partition("{}")[2].strip() for prompt in prompts)


class _Listen(Callback):
    def __init__(self):
        self.logged, self.before = {}, None

    def on_train_batch_end(self, trainer, module, *_):
        for name in ("train/loss", "train/regularizer"):
            if name in trainer.callback_metrics:
                self.logged.setdefault(name, []).append(trainer.callback_metrics[name].item())


def run(model, folder, regularizer, **options):
    listen, merge = _Listen(), options.pop("merge_batches", False)
    module = tiny_module(model, regularizer=regularizer, merge_batches=merge)
    trainer = tiny_trainer(callbacks=[listen], **options)
    trainer.fit(module, tiny_data(folder, model))
    return module.export_vectors()["<cat-toy>"]["clip_l"], listen.logged, trainer.callback_metrics["val/loss"].item()


@pytest.mark.parametrize("regularizer", [L2ToInitRegularizer(weight=1.0), ContextRegularizer(weight=10.0)])
def test_it_moves_the_rows_and_has_a_number_of_its_own(model, tmp_path, regularizer):
    plain, logged, _ = run(model, tmp_path, NO_REGULARIZER)
    assert "train/regularizer" not in logged
    held, numbers, _ = run(model, tmp_path, regularizer)
    assert numbers["train/loss"][0] == logged["train/loss"][0], "the loss of the pictures stays what it is"
    assert numbers["train/regularizer"][-1] > 0
    assert not torch.equal(plain, held)


def test_val_loss_is_that_of_the_pictures_alone(model, tmp_path):
    """Rows that nothing moves have one val/loss, whatever is added to the loss of training."""
    still = {"gradient_clip_val": 1e-30}
    assert (
        run(model, tmp_path, NO_REGULARIZER, **still)[2]
        == run(model, tmp_path, ContextRegularizer(weight=10.0), **still)[2]
    )


@pytest.mark.parametrize("merge_batches", [False, True])
def test_an_accumulated_step_counts_it_once(model, tmp_path, merge_batches):
    """Of nothing but the regularizer, four micro-batches must make the gradient of one."""
    gradients = []

    class Keep(Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            gradients.append(module.learned_tokens[0].embedding.weights["clip_l"].grad.clone())

    for accumulate in (1, 4):
        module = tiny_module(model, regularizer=ContextRegularizer(weight=1e6), merge_batches=merge_batches)
        moved(module.learned_tokens[0], away(0.1))
        settings = {"max_steps": 1, "accumulate_grad_batches": accumulate, "limit_val_batches": 0}
        tiny_trainer(callbacks=[Keep()], **settings).fit(module, tiny_data(tmp_path, model))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-2, atol=1e-2 * gradients[0].abs().max().item())


@pytest.mark.parametrize(
    ("concept", "embedding", "said"),
    [
        ({"initializer_token": None}, {"init": "random"}, "concept.initializer_token, which is null"),
        ({"initializer_token": "painting", "kind": "style"}, {}, "prompts about things, not styles"),
        ({"initializer_token": "toy"}, {"timestep_stages": 10}, "rows for each stage or layer"),
    ],
)
def test_context_refuses_what_it_cannot_compare(concept, embedding, said):
    with pytest.raises(UserError, match=said):
        ContextRegularizer().check(Concept(placeholder_token="<x>", **concept), EmbeddingConfig(**embedding))


def test_a_run_that_cannot_be_regularized_is_refused_before_anything_loads(compose):
    with pytest.raises(
        ConfigError, match=r"others\.robot: regularizer=context compares with concept.initializer_token"
    ):
        preflight(
            compose(
                "+experiment=two_toys",
                "regularizer=context",
                "extra_concepts.robot.concept.initializer_token=null",
                "extra_concepts.robot.embedding.init=random",
            )
        )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: L2ToInitRegularizer(weight=0), "regularizer=none leaves it out"),
        (lambda: ContextRegularizer(weight=-1), "regularizer.weight must be above 0, got -1"),
        (lambda: ContextRegularizer(num_prompts=0), "num_prompts must be 1 or more"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, said):
    with pytest.raises(UserError, match=said):
        make()


def test_prompts_of_ones_own_need_something_behind_the_word(tmp_path):
    (tmp_path / "own.txt").write_text("a photo of a {}\n")
    with pytest.raises(UserError, match=r"own\.txt has no prompt in which something stands behind"):
        ContextRegularizer(templates_file=str(tmp_path / "own.txt")).check(
            Concept(placeholder_token="<x>", initializer_token="toy"), EmbeddingConfig()
        )
