"""The code of the model card runs with the files of the repository."""

import re
import shutil

import pytest
import torch

from tests.models.published import published, save
from tests.models.published_transformers import TRANSFORMERS, published_transformer
from tests.publish.runs import finished_run
from tests.tiny import RESOLUTION, tiny_images
from tinv import formats
from tinv.publish.staging import stage

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("layout", "encoders"),
    [("sd1", {"clip_l": "text_encoder"}), ("sdxl", {"clip_l": "text_encoder", "clip_g": "text_encoder_2"})],
)
def test_the_code_of_the_card_loads_all_vectors_and_draws(tmp_path, monkeypatch, layout, encoders):
    monkeypatch.chdir(tmp_path)
    pipeline = published(layout)
    save(pipeline, tmp_path / "model")
    widths = {name: getattr(pipeline, part).get_input_embeddings().weight.shape[1] for name, part in encoders.items()}
    images, base = tiny_images(tmp_path / "p"), str(tmp_path / "model")
    run = finished_run(tmp_path / "run", images=images, base=base, encoders=tuple(encoders), widths=widths)
    shutil.copytree(stage(run, run, repo_id="alice/cat-toy", license=None, concept_images=True), "alice/cat-toy")
    code = re.search(r"```python\n(.*?)```", (tmp_path / "alice/cat-toy/README.md").read_text(), re.DOTALL)[1]
    variables: dict = {}
    exec(code, variables)
    assert (tmp_path / "image.png").is_file()
    learned = formats.read(run).vectors
    for name, part in encoders.items():
        tokenizer = getattr(variables["pipe"], part.replace("text_encoder", "tokenizer"))
        table = getattr(variables["pipe"], part).get_input_embeddings().weight
        ids = tokenizer.convert_tokens_to_ids(["<cat-toy>", "<cat-toy>_1"])
        assert torch.equal(table[ids].cpu(), learned[name])


@pytest.mark.parametrize("name", ["flux1_dev", "pixart_sigma", "sana_1600m"])
def test_the_code_of_the_card_loads_what_diffusers_loader_does_not_know(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    save(published_transformer(name), tmp_path / "model")
    family = TRANSFORMERS[name]
    options = {"encoders": tuple(family.widths), "widths": family.widths, "prediction_type": family.prediction_type}
    images, base = tiny_images(tmp_path / "p"), str(tmp_path / "model")
    run = finished_run(tmp_path / "run", images=images, base=base, **options)
    shutil.copytree(stage(run, run, repo_id="alice/cat-toy", license=None, concept_images=True), "alice/cat-toy")
    card = (tmp_path / "alice/cat-toy/README.md").read_text()
    assert "stable-diffusion" not in card.partition("## Use")[0] and "AUTOMATIC1111" not in card
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    download = 'snapshot_download("alice/cat-toy", allow_patterns="*.safetensors")'
    assert code.count(download) == 1
    small = f", height={RESOLUTION}, width={RESOLUTION}, num_inference_steps=2"
    if name in ("pixart_sigma", "sana_1600m"):
        small += ", use_resolution_binning=False"
    code = code.replace(download, '"alice/cat-toy"').replace(").images[0]", f"{small}).images[0]")
    assert ("clean_caption=False" in code) == (name == "pixart_sigma")
    exec(code, {})
    assert (tmp_path / "image.png").is_file()
