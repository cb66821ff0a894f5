"""A whole run with every callback, and `tinv generate`, on a tiny model of each published layout."""

import json
import shutil

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from tests.models.original import single_file
from tests.models.published import LAYOUTS, WIDTHS, published
from tinv import formats
from tinv.cli import main
from tinv.config.validate import ConfigError
from tinv.training.preflight import preflight
from tinv.training.run import train

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize(
    ("name", "is_file"),
    [
        *(pytest.param(name, False, marks=pytest.mark.slow) for name in LAYOUTS),
        pytest.param("sd1", True, marks=pytest.mark.slow),
        ("sdxl", True),
    ],
)
def test_a_run_and_generate_work_on_every_layout(compose_local, folders, settings, tmp_path, capsys, name, is_file):
    model, overrides = folders[name], ["embedding.num_vectors=2", "data.batch_size=2", "trainer.val_check_interval=2"]
    if is_file:
        model = tmp_path / "model.safetensors"
        save_file(single_file(name, published(name)), model)
        overrides.append(f"model.config={settings[name]}")
    cfg = compose_local(model, *overrides)
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
    command = f"generate --embedding {tmp_path} --out {tmp_path / 'drawn'} --num-inference-steps 2 --device cpu"
    assert main([*command.split(), "a {}"]) == 0
    assert (tmp_path / "drawn" / "a-cat-toy_0.png").is_file()


def test_the_initializer_is_checked_in_both_tokenizers(compose_local, folders, tmp_path):
    folder = shutil.copytree(folders["sdxl"], tmp_path / "m")
    merges = folder / "tokenizer_2" / "merges.txt"
    merges.write_text(merges.read_text(encoding="utf-8").replace("to y</w>\n", ""), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"'toy': 2 tokens \(`to` `y</w>`\)") as error:
        preflight(compose_local(folder))
    assert len(error.value.problems) == 1
