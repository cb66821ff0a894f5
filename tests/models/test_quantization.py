"""`model.quantization` on a CPU: which components, and what is refused; test_quantized_weights.py has what it does."""

import re
from importlib.util import find_spec

import pytest
from omegaconf import OmegaConf

from tests.models.published_transformers import TRANSFORMERS
from tinv.errors import UserError
from tinv.models import load
from tinv.models.flux1 import FLUX1
from tinv.models.quantization import quantization_problems, resolve_quantization

FINE = {"is_single_file": False, "attention": "sdpa", "compile": False, "device": "cpu", "precision": "32-true"}


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, {}),
        ("nf4", {"text_encoder_2": "nf4", "transformer": "nf4"}),
        ({"transformer": "nf4", "text_encoder_2": "int8"}, {"transformer": "nf4", "text_encoder_2": "int8"}),
        ({"transformer": None, "text_encoder": "fp8"}, {"text_encoder": "fp8"}),
        (OmegaConf.create({"transformer": "int8"}), {"transformer": "int8"}),
    ],
)
def test_one_value_is_for_the_denoiser_and_every_text_encoder_but_clip(setting, expected):
    assert resolve_quantization(setting, FLUX1) == expected


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_one_value_quantizes_components_of_every_family(name):
    family = TRANSFORMERS[name].family
    assert {family.denoiser[0]} <= resolve_quantization("int8", family).keys() <= family.modules.keys() - {"vae"}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            {"vae": "int8"},
            r"model\.quantization\.vae=int8: Flux.1 has no such component .* text_encoder,",
        ),
        ({"transformer": "int4"}, r"model\.quantization\.transformer=int4: unknown. Set int8, nf4, fp8 or null"),
    ],
)
def test_unknown_components_and_values_are_refused(setting, message):
    with pytest.raises(UserError, match=message):
        resolve_quantization(setting, FLUX1)


@pytest.mark.parametrize(
    ("quantization", "settings", "message"),
    [
        ({"transformer": "nf4"}, {}, "quantizes the transformer to nf4 on an NVIDIA GPU only"),
        ({"transformer": "int8"}, {"device": "mps"}, "this run is on mps"),
        ({"transformer": "int8"}, {"is_single_file": True}, "not a single file"),
        ({"transformer": "int8"}, {"attention": "xformers"}, r"Set model\.attention=sdpa"),
        ({"transformer": "int8"}, {"compile": True}, r"Set model\.compile=false"),
        ({"transformer": "int8"}, {"precision": "bf16-true"}, r"Set trainer\.precision=32-true"),
    ],
)
def test_what_does_not_go_with_quantized_weights_is_refused(quantization, settings, message):
    missing = {"torchao", "bitsandbytes"} - {name for name in ("torchao", "bitsandbytes") if find_spec(name)}
    problems = [*quantization_problems(quantization, FLUX1, **FINE | settings)]
    expected = [problem for problem in problems if not any(f"package {name}" in problem for name in missing)]
    assert len(expected) == 1 and re.search(message, expected[0])
    assert not [*quantization_problems({}, FLUX1, **FINE | settings)]


@pytest.mark.skipif(find_spec("torchao") is not None, reason="torchao is installed")
def test_a_missing_package_is_named_with_its_extra(pipeline_folder):
    with pytest.raises(UserError, match=r'torchao is not installed. pip install "tinv\[quantization\]"'):
        load(str(pipeline_folder), quantization="int8")
