"""The benchmarks run, on a tiny model."""

import pytest
import torch

from bench import full_size, published, random_pipeline, step
from bench.watch import WARM_UP
from tests.tiny import tiny_images, tiny_pipeline


def test_a_step_is_timed_in_the_loop_that_users_run(tmp_path, monkeypatch):
    tiny_pipeline(tmp_path / "model")
    tiny_images(tmp_path / "pictures")
    monkeypatch.setenv("TINV_TRUST", "")
    tiny = ["model=local", f"model.pretrained={tmp_path / 'model'}", f"data.folder={tmp_path / 'pictures'}"]
    row = step.measure({"data.batch_size": 2, "trainer.accumulate_grad_batches": 2}, [*tiny, "trainer.accelerator=cpu"])
    assert (row["batch_size"], row["accumulate_grad_batches"]) == (2, 2)
    assert 0 < row["seconds_least"] <= row["seconds_median"]
    assert row["pictures_per_second"] > 0


@pytest.mark.parametrize("name", published.PUBLISHED)
def test_the_shapes_at_full_size_are_the_published_ones(name):
    with torch.device("meta"):
        parts = random_pipeline.modules(published.configs(name))
    counted = {part: sum(parameter.numel() for parameter in module.parameters()) for part, module in parts.items()}
    assert counted == published.PARAMETERS[name]


@pytest.mark.parametrize(("name", "memory"), [("sd15", "none"), pytest.param("sdxl", "8gb", marks=pytest.mark.slow)])
def test_a_run_of_the_published_layout_is_watched(monkeypatch, name, memory):
    monkeypatch.setenv("TINV_TRUST", "")
    steps = WARM_UP + 2
    figures = full_size.measure(name, memory=memory, steps=steps, tiny=True, overrides=["trainer.accelerator=cpu"])
    assert figures["fits"] and figures["steps"] == 2
    assert figures["peaks_mib"].keys() == {"encoding", "sampling", "training"}
    assert 0 < figures["seconds_least"] <= figures["seconds_median"]
    assert figures["batch_size"] * figures["accumulate_grad_batches"] == 4
    assert figures["gradient_checkpointing"] == (memory == "8gb")
