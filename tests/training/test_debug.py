"""The debug moods do what they promise, on a tiny model."""

import csv
from pathlib import Path

import pytest

from tests.tiny import tiny_images, tiny_pipeline
from tinv.training.run import train


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("debug")
    tiny_pipeline(folder / "model")
    tiny_images(folder / "pictures")
    return [
        "model=local",
        f"model.pretrained={folder / 'model'}",
        f"data.folder={folder / 'pictures'}",
        "concept.placeholder_token=my-cat",
        "concept.initializer_token=toy",
        "trainer.accelerator=cpu",
    ]


def test_overfit_lowers_the_loss_of_one_batch_at_every_step(compose, tiny, tmp_path):
    train(compose(*tiny, "+debug=overfit", "~callbacks.samples", "trainer.max_steps=20"))
    with (tmp_path / "metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert len(losses) == 20
    assert losses == sorted(losses, reverse=True)


def test_fast_goes_through_every_part(compose, tiny, tmp_path):
    assert train(compose(*tiny, "+debug=fast")) is not None
    left = {path.relative_to(tmp_path).as_posix() for path in Path(tmp_path).rglob("*") if path.is_file()}
    assert {"learned_embeds.safetensors", "metrics.csv", "run.json", "samples/step_000004.png"} <= left
    assert "checkpoints/step_000004.ckpt" in left
