import json
from itertools import pairwise

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file

from tests.tiny import tiny_images, tiny_pipeline
from tinv.config.validate import CONF_DIR
from tinv.errors import UserError
from tinv.models.runtime import check_loss_scale
from tinv.training.run import train

CARDS = ["8gb", "12gb", "24gb"]
MODELS = sorted(path.stem for path in (CONF_DIR / "model").glob("*.yaml"))
FILLED = ["concept.placeholder_token=my-cat", "concept.initializer_token=toy", "data.folder=pictures"]


def effective_batch(cfg) -> int:
    return cfg.data.batch_size * cfg.trainer.accumulate_grad_batches


@pytest.mark.parametrize("model", MODELS)
def test_every_card_goes_with_every_model_and_learns_from_as_many_pictures(compose, model):
    chosen = [f"model={model}", *FILLED, *(["model.pretrained=folder"] if model == "local" else [])]
    plain = compose(*chosen)
    for card in CARDS:
        small = compose(*chosen, f"memory={card}")
        assert effective_batch(small) == effective_batch(plain)
        assert small.model.dtype == "bfloat16"
        assert (small.model.pretrained, small.concept) == (plain.model.pretrained, plain.concept)


def test_the_page_says_what_the_presets_set():
    page = (CONF_DIR.parent / "docs" / "memory.md").read_text(encoding="utf-8")
    table = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in page.splitlines() if line[:1] == "|"]
    header, *rows = table[: table.index(["setting", "gives", "costs"])]
    presets = [OmegaConf.load(CONF_DIR / "memory" / f"{card}.yaml") for card in header[1:]]
    assert header[1:] == CARDS
    for setting, *values in rows[1:]:
        assert [str(OmegaConf.select(preset, setting)).lower() for preset in presets] == values
    assert {row[0] for row in rows[1:]} == {path for preset in presets for path in _paths(preset)}


def _paths(node, prefix=""):
    for key, value in node.items():
        yield from _paths(value, f"{prefix}{key}.") if isinstance(value, DictConfig) else [prefix + key]


def test_a_smaller_card_holds_no_more_at_once(compose):
    cards = [compose(*FILLED, f"memory={card}") for card in CARDS]
    at_once = [(c.data.batch_size, c.callbacks.samples.batch_size, not c.model.gradient_checkpointing) for c in cards]
    assert at_once == sorted(at_once)
    assert all(a <= b for smaller, larger in pairwise(at_once) for a, b in zip(smaller, larger, strict=True))


def test_memory_beats_the_groups_and_experiments_and_the_command_line_beat_memory(compose):
    small = ["+experiment=cat_toy", "memory=8gb"]
    assert compose(*small).data.batch_size == 1  # data=toybox_cat_toy says 8
    assert compose(*small, "+debug=fast").data.batch_size == 2
    assert compose(*small, "data.batch_size=3").data.batch_size == 3
    assert compose(*small, "trainer=gpu").trainer.precision == "32-true"
    assert compose(*small, "callbacks=none").callbacks == {}


def test_a_run_on_the_smallest_card_learns_float32_rows(compose, tmp_path):
    cfg = compose(
        "memory=8gb",
        "model=local",
        f"model.pretrained={tiny_pipeline(tmp_path / 'model')}",
        f"data.folder={tiny_images(tmp_path / 'pictures')}",
        "concept.placeholder_token=my-cat",
        "concept.initializer_token=toy",
        "data.val_draws=2",
        "trainer.max_steps=2",
        "trainer.accelerator=cpu",
        "callbacks.samples.seeds=[0]",
        "callbacks.samples.num_inference_steps=1",
        'callbacks.samples.prompts=["a {}"]',
    )
    train(cfg)
    rows = load_file(tmp_path / "learned_embeds.safetensors")["my-cat"]
    assert rows.dtype == torch.float32 and rows.isfinite().all()
    assert not torch.equal(rows, rows.bfloat16().float())
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "finished"


@pytest.mark.parametrize(
    ("dtype", "precision"), [("float16", "32-true"), ("float16", "bf16-mixed"), ("float32", "16-true")]
)
def test_float16_without_a_scaled_loss_is_refused(dtype, precision):
    with pytest.raises(UserError, match=r"write trainer\.precision=16-mixed on a GPU"):
        check_loss_scale(dtype, precision)


@pytest.mark.parametrize(
    ("dtype", "precision"), [("float16", "16-mixed"), ("bfloat16", "32-true"), ("float32", "bf16-true")]
)
def test_other_precisions_need_no_scale(dtype, precision):
    check_loss_scale(dtype, precision)
