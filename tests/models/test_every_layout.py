"""A whole run with every callback, and `tinv generate`, on a tiny model of each published layout."""

import json
import shutil

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from tests.models.original import single_file
from tests.models.published import published
from tests.tiny import tiny_images
from tinv import formats
from tinv.cli import main
from tinv.config.validate import ConfigError
from tinv.training.preflight import preflight
from tinv.training.run import train

WIDTHS = {"sd1": {"clip_l": 32}, "sd2": {"clip_h": 1024}, "sdxl": {"clip_l": 32, "clip_g": 48}}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize(
    ("name", "is_file"),
    [
        pytest.param("sd1", False, marks=pytest.mark.slow),
        pytest.param("sd1", True, marks=pytest.mark.slow),
        pytest.param("sd2", False, marks=pytest.mark.slow),
        pytest.param("sdxl", False, marks=pytest.mark.slow),
        ("sdxl", True),
    ],
)
def test_a_run_and_generate_work_on_every_layout(compose, folders, settings, tmp_path, capsys, name, is_file):
    model = [f"model.pretrained={folders[name]}"]
    if is_file:
        save_file(single_file(name, published(name)), tmp_path / "model.safetensors")
        model = [f"model.pretrained={tmp_path / 'model.safetensors'}", f"model.config={settings[name]}"]
    cfg = compose(
        "model=local",
        *model,
        f"data.folder={tiny_images(tmp_path / 'images')}",
        "concept.placeholder_token='<cat-toy>'",
        "concept.initializer_token=toy",
        "embedding.num_vectors=2",
        "data.batch_size=2",
        "data.val_draws=3",
        "trainer.max_steps=2",
        "trainer.accelerator=cpu",
        "trainer.val_check_interval=2",
        "callbacks.samples.num_inference_steps=2",
        "callbacks.samples.seeds=[0]",
    )
    loss = train(cfg)
    assert loss is not None and loss < 10
    learned = formats.read(tmp_path)
    assert {encoder: rows_KD.shape[1] for encoder, rows_KD in learned.vectors.items()} == WIDTHS[name]
    assert all(rows_KD.dtype == torch.float32 and rows_KD.isfinite().all() for rows_KD in learned.vectors.values())
    near = json.loads((tmp_path / "run.json").read_text())["result"]["embedding_stats"]["nearest"]
    assert "toy" in near["<cat-toy>"] and len(near["<cat-toy>"]) == 5 * len(WIDTHS[name])
    (tmp_path / ".hydra").mkdir()
    OmegaConf.save(cfg, tmp_path / ".hydra" / "config.yaml")
    capsys.readouterr()
    command = [
        "generate",
        "--embedding",
        str(tmp_path),
        "a {}",
        "--out",
        str(tmp_path / "drawn"),
        "--num-inference-steps",
        "2",
    ]
    assert main([*command, "--device", "cpu"]) == 0
    assert (tmp_path / "drawn" / "a-cat-toy_0.png").is_file()


def test_the_initializer_is_checked_in_both_tokenizers(compose, folders, tmp_path):
    folder = shutil.copytree(folders["sdxl"], tmp_path / "m")
    merges = folder / "tokenizer_2" / "merges.txt"
    merges.write_text(merges.read_text(encoding="utf-8").replace("to y</w>\n", ""), encoding="utf-8")
    cfg = compose(
        "model=local",
        f"model.pretrained={folder}",
        f"data.folder={tiny_images(tmp_path / 'images')}",
        "concept.placeholder_token='<cat-toy>'",
        "concept.initializer_token=toy",
    )
    with pytest.raises(ConfigError, match=r"'toy': 2 tokens \(`to` `y</w>`\)") as error:
        preflight(cfg)
    assert len(error.value.problems) == 1
