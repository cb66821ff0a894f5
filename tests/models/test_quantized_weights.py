"""Training and drawing with quantized weights, as far as torchao and bitsandbytes run on a CPU."""

import copy

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import nn
from transformers import T5Config, T5EncoderModel

from tests.models.published import published, save
from tests.models.published_transformers import published_transformer, random_rows, t5_tokenizer
from tests.tiny import tiny_data, tiny_module
from tinv import formats
from tinv.cli import main
from tinv.config.validate import ConfigError
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.inference import export_pipeline
from tinv.models import load
from tinv.models.quantized_weights import is_quantized, stored_tensors
from tinv.training.microbatches import micro_batches_that_fit
from tinv.training.preflight import preflight
from tinv.training.run import train

pytest.importorskip("torchao")
pytest.importorskip("bitsandbytes")
pytestmark = pytest.mark.quantization

CASES = [
    ("flux1_dev", "int8"),
    ("flux1_dev", "fp8"),
    ("z_image", {"transformer": "fp8", "text_encoder": "int8"}),
    ("flux1_schnell", {"text_encoder_2": "nf4"}),
    ("sdxl", "int8"),
]


def with_wide_t5(pipeline):
    """A copy of a Flux.1 whose T5 has widths that bitsandbytes can pack on a CPU."""
    pipeline = copy.deepcopy(pipeline)
    sizes = {"d_model": 64, "d_kv": 32, "d_ff": 64, "num_layers": 2, "num_heads": 2}
    pipeline.register_modules(text_encoder_2=T5EncoderModel(T5Config(vocab_size=len(t5_tokenizer()), **sizes)))
    pipeline.transformer.context_embedder = nn.Linear(64, pipeline.transformer.inner_dim)
    pipeline.transformer.register_to_config(joint_attention_dim=64)
    return pipeline


@pytest.fixture(scope="module")
def folders_of_models(tmp_path_factory):
    """The pipeline folders of the cases."""
    root = tmp_path_factory.mktemp("models")
    pipelines = {name: published_transformer(name) for name in ("flux1_dev", "flux1_schnell", "z_image")}
    pipelines |= {"sdxl": published("sdxl"), "flux1_schnell": with_wide_t5(pipelines["flux1_schnell"])}
    return {name: str(save(pipeline, root / name)) for name, pipeline in pipelines.items()}


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def models(request, folders_of_models):
    """A quantized model, and the same one with plain weights."""
    name, quantization = request.param
    options = {"dtype": "bfloat16"}
    return load(folders_of_models[name], **options, quantization=quantization), load(folders_of_models[name], **options)


def gradients(model, folder):
    """The losses of two samples, and the gradient of each encoder's vectors."""
    module = tiny_module(model, num_vectors=2)
    (batch,) = tiny_data(folder, model, batch_size=2, val_draws=2).val_dataloader()
    losses = module.losses(batch)
    losses.mean().backward()
    return losses.detach(), [vectors_KD.grad for vectors_KD in module.learned_tokens.parameters()]


def test_gradients_pass_quantized_weights_to_float32_vectors(models, tmp_path):
    quantized, _ = models
    for component in quantized.quantization:
        assert any(map(is_quantized, getattr(quantized, component).parameters()))
    (losses, of_quantized), (expected, of_plain) = (gradients(model, tmp_path) for model in models)
    assert not torch.equal(losses, expected) and torch.allclose(losses, expected, rtol=0.2)
    for gradient, reference in zip(of_quantized, of_plain, strict=True):
        assert gradient.dtype == torch.float32 and gradient.ne(0).any(dim=1).all()
        assert F.cosine_similarity(gradient.flatten(), reference.flatten(), dim=0) > 0.8


def test_a_quantized_model_is_the_same_model(models):
    quantized, plain = models
    assert quantized.fingerprint == plain.fingerprint


def test_a_quantized_layer_saves_nothing_for_the_backward_pass(models):
    """Its dequantized weight is computed again: the copies of all layers would be as large as the plain weights."""
    quantized, _ = models
    layers = [part for part in quantized.modules() if isinstance(part, nn.Linear) and is_quantized(part.weight)]
    for layer in layers:
        saved = []
        x = torch.randn(2, 3, layer.in_features, dtype=torch.bfloat16, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(saved.append, lambda tensor: tensor):
            output = layer(x)
        assert not saved
        output.backward(direction := torch.randn_like(output))
        identity = torch.eye(layer.in_features, dtype=torch.bfloat16)
        weight = (layer(identity) - (0 if layer.bias is None else layer.bias)).T
        assert F.cosine_similarity(x.grad.flatten(), (direction @ weight).flatten(), dim=0) > 0.99


def test_a_quantized_weight_takes_less_memory(folders_of_models):
    options = {"dtype": "bfloat16"}
    plain = load(folders_of_models["flux1_dev"], **options).transformer
    for kind in ("int8", "fp8"):
        quantized = load(folders_of_models["flux1_dev"], **options, quantization=kind).transformer
        for weight, before in zip(quantized.parameters(), plain.parameters(), strict=True):
            if is_quantized(weight):
                num_bytes = sum(part.nbytes for part in stored_tensors(weight))
                rows = before.shape[0]
                assert num_bytes == before.numel() + rows * (5 if kind == "int8" else 4)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_run_resumes_with_the_same_quantization_only_and_draws(compose_local, folders_of_models, tmp_path, precision):
    overrides = ["callbacks.checkpoints.every_n_steps=1", f"trainer.precision={precision}", "data.batch_size=1"]
    accumulated = ["trainer.accumulate_grad_batches=2", "model.dtype=bfloat16", "model.quantization=int8"]
    compose = lambda *more: compose_local(folders_of_models["flux1_dev"], *overrides, *accumulated, *more)  # noqa: E731
    train(compose())
    train(cfg := compose("trainer.max_steps=3", "resume=latest"))
    with pytest.raises(UserError, match=r"model\.quantization was .*int8.* and is None"):
        train(compose("trainer.max_steps=4", "resume=latest", "model.quantization=null"))
    (tmp_path / ".hydra").mkdir()
    OmegaConf.save(cfg, tmp_path / ".hydra" / "config.yaml")
    command = f"generate --embedding {tmp_path} --out {tmp_path / 'drawn'} --num-inference-steps 2 --device cpu"
    assert main([*command.split(), "a {}"]) == 0
    assert formats.read(tmp_path / "learned_embeds.safetensors").provenance["steps"] == "3"


def test_micro_batches_are_measured_without_quantized_weights(models, tmp_path):
    quantized, _ = models
    module = tiny_module(quantized)
    (batch,) = tiny_data(tmp_path, quantized, batch_size=2, val_draws=2).val_dataloader()
    device = torch.device("cpu")
    assert micro_batches_that_fit(lambda: module.losses(batch), frozen=quantized.parameters(), device=device) >= 1


def test_a_pipeline_is_not_exported_with_quantized_weights(compose_local, folders_of_models, tmp_path):
    model = load(folders_of_models["flux1_dev"], quantization="int8")
    with pytest.raises(UserError, match="needs the plain weights"):
        export_pipeline.write(tmp_path / "p", [LearnedEmbedding("<cat-toy>", random_rows("flux1_dev"))], model)
    settings = ["model.quantization=int8", "model.compile=true", "callbacks.export.formats=[pipeline]"]
    with pytest.raises(ConfigError) as error:
        preflight(compose_local(folders_of_models["flux1_dev"], *settings))
    assert [problem.partition(":")[0] for problem in error.value.problems] == [
        "model.quantization=int8",
        "callbacks.export.formats",
    ]
