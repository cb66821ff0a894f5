"""The debug options, on a tiny model."""

import csv

import pytest

from tinv.training.run import train


@pytest.fixture
def settings(workspace) -> list[str]:
    return f"""model=local model.pretrained={workspace}/model data.folder={workspace}/images trainer.accelerator=cpu
    concept.placeholder_token=my-cat concept.initializer_token=toy""".split()


def test_overfit_lowers_the_loss_of_one_batch_at_every_step(compose, settings, tmp_path):
    train(compose(*settings, "+debug=overfit", "~callbacks.samples", "trainer.max_steps=20"))
    with (tmp_path / "metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert len(losses) == 20
    assert losses == sorted(losses, reverse=True)


def test_fast_exercises_every_part(compose, settings, tmp_path):
    assert train(compose(*settings, "+debug=fast")) is not None
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"learned_embeds.safetensors", "metrics.csv", "run.json", "samples/step_000004.png"} <= files
    assert "checkpoints/step_000004.ckpt" in files
