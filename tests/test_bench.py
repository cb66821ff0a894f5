"""The benchmarks run, on a tiny model."""

from bench import step
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
