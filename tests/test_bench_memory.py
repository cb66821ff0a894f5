"""The table of frozen weights in docs/memory.md is what `python -m bench.memory` computes."""

from pathlib import Path

import pytest
import torch
from torch import nn

from bench.memory import KINDS, MODELS, build, component_bytes, lines
from tinv.config.validate import CONF_DIR

DOCS = Path(__file__).resolve().parent.parent / "docs" / "memory.md"


def test_the_table_in_the_docs_is_the_computed_one():
    assert "\n".join(lines()) in DOCS.read_text(encoding="utf-8")


def test_every_model_of_the_table_can_be_chosen():
    assert MODELS.keys() <= {path.stem for path in (CONF_DIR / "model").glob("*.yaml")}


@pytest.mark.parametrize("kind", KINDS)
def test_only_linear_layers_are_quantized(kind):
    module = nn.Sequential(nn.Embedding(10, 64), nn.Linear(64, 128))
    expected = {None: 2 * 64 * 128, "int8": 64 * 128 + 5 * 128, "nf4": 64 * 128 // 2 + 4 * 128}
    assert component_bytes(module, kind) == 2 * (10 * 64 + 128) + expected[kind]


@pytest.mark.quantization
@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_the_bytes_are_those_of_quantized_weights(kind, tmp_path):
    pytest.importorskip("torchao")
    pytest.importorskip("bitsandbytes")
    from tinv.models.quantization import quantization_config
    from tinv.models.quantized_weights import stored_tensors

    sizes = {"vocab_size": 96, "d_model": 64, "d_kv": 32, "d_ff": 128, "num_layers": 2, "num_heads": 2}
    plain = build("T5EncoderModel", sizes)
    plain.to_empty(device="cpu").save_pretrained(tmp_path)
    config = quantization_config(kind, dtype=torch.bfloat16, is_of_diffusers=False)
    quantized = type(plain).from_pretrained(tmp_path, dtype=torch.bfloat16, quantization_config=config)
    stored = sum(part.nbytes for weight in quantized.parameters() for part in stored_tensors(weight))
    assert component_bytes(plain, kind) == stored
