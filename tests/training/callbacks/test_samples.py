"""Samples writes sheets at the right steps, and does not affect the training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.tiny import tiny_model
from tests.training.callbacks.fitting import Interrupt, fit, vectors
from tinv.models import LatentDiffusion
from tinv.training.callbacks import Checkpoints, Samples
from tinv.training.loggers.csv_logger import CSVLogger
from tinv.training.loggers.tensorboard import TensorBoardLogger

PROMPTS = ["a photo of a {}", "a {} on the beach"]


def samples(folder: Path, every_n_steps: int | None = 4) -> Samples:
    options = {"num_inference_steps": 1, "guidance_scale": 2.0}
    return Samples(folder, PROMPTS, seeds=[0, 1, 2], every_n_steps=every_n_steps, **options)


def steps_on_disk(folder: Path) -> list[int]:
    return [int(path.stem.removeprefix("step_")) for path in sorted((folder / "samples").glob("*.png"))]


def table(folder: Path) -> dict[int, dict[str, str]]:
    lines = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    return {int(line[0]): dict(zip(lines[0], line, strict=True)) for line in lines[1:]}


@pytest.mark.parametrize(("every_n_steps", "steps"), [(4, [0, 4, 6]), (None, [0, 6])])
def test_draws_at_the_start_every_n_optimizer_steps_and_at_the_end(tmp_path, model, every_n_steps, steps):
    fit(tmp_path, model, [samples(tmp_path, every_n_steps)], max_steps=6, accumulate=2)
    assert steps_on_disk(tmp_path) == steps


def test_a_sheet_has_a_row_per_prompt_and_a_column_per_seed(tmp_path, model):
    fit(tmp_path, model, [samples(tmp_path, None)], max_steps=1)
    sheet = Image.open(tmp_path / "samples/step_000000.png")
    cells = [sheet.crop((4 + 132 * x, 19 + 151 * y, 132 + 132 * x, 147 + 151 * y)) for y in range(2) for x in range(3)]
    assert len({cell.tobytes() for cell in cells}) == 6
    assert all(np.asarray(cell).std() > 1 for cell in cells)


def test_sheets_of_the_same_embedding_are_bit_identical(tmp_path, model):
    for name in ("a", "b"):
        torch.manual_seed(len(name) + ord(name))
        fit(tmp_path, model, [samples(tmp_path / name)], max_steps=2)
    for sheet in ("step_000000.png", "step_000002.png"):
        assert (tmp_path / "a/samples" / sheet).read_bytes() == (tmp_path / "b/samples" / sheet).read_bytes()


def test_sampling_does_not_affect_the_training(tmp_path, model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = {name: module.training for name, module in model.named_modules()}
    torch.manual_seed(7)
    plain = fit(tmp_path, model, [])
    plain_state = torch.get_rng_state()
    torch.manual_seed(7)
    sampled = fit(tmp_path, model, [samples(tmp_path, every_n_steps=1)])
    assert torch.equal(vectors(plain), vectors(sampled))
    assert torch.equal(plain_state, torch.get_rng_state())
    assert modes == {name: module.training for name, module in model.named_modules()}
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_samples_use_the_precision_of_the_training(tmp_path, model):
    modes = set()

    def record(*_: object) -> None:
        modes.add((torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()))

    hook = model.unet.register_forward_hook(record)
    fit(tmp_path, model, [samples(tmp_path, None)], max_steps=1, trainer={"precision": "bf16-mixed"})
    hook.remove()
    assert modes == {(True, True), (True, False)}


@pytest.mark.parametrize(("bias", "counts"), [(float("nan"), ("0", "6")), (-9.0, ("6", "0"))])
def test_counts_black_and_nonfinite_images_separately(tmp_path, bias, counts):
    broken = tiny_model(tmp_path / "model")
    broken.vae.decoder.conv_out.weight.fill_(0.0)
    broken.vae.decoder.conv_out.bias.fill_(bias)
    fit(tmp_path, broken, [samples(tmp_path, None)], max_steps=1, loggers=[CSVLogger(tmp_path)])
    assert [(row["samples/black"], row["samples/nonfinite"]) for row in table(tmp_path).values()] == [counts] * 2
    is_black = np.asarray(Image.open(tmp_path / "samples/step_000001.png").convert("L")).mean() < 128
    assert is_black == (bias == -9.0)


def test_a_sheet_that_a_killed_run_missed_is_drawn_on_resume(tmp_path, model):
    with pytest.raises(RuntimeError):
        fit(tmp_path, model, [Checkpoints(tmp_path, every_n_steps=4), Interrupt(4, RuntimeError()), samples(tmp_path)])
    assert steps_on_disk(tmp_path) == [0]
    fit(tmp_path, model, [samples(tmp_path)], resume=tmp_path / "checkpoints/step_000004.ckpt")
    assert steps_on_disk(tmp_path) == [0, 4, 6]


def test_sheets_in_tensorboard_have_the_steps_of_the_files(tmp_path, model):
    logger = TensorBoardLogger(tmp_path)
    fit(tmp_path, model, [samples(tmp_path)], accumulate=2, loggers=[logger])
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert [image.step for image in events.Images("samples")] == steps_on_disk(tmp_path) == [0, 4, 6]
    image, sheet = events.Images("samples")[1], Image.open(tmp_path / "samples/step_000004.png")
    assert (image.width, image.height) == sheet.size
    assert [scalar.step for scalar in events.Scalars("val/loss")] == [4, 6]


def test_batch_size_limits_the_images_drawn_at_once(tmp_path, model, monkeypatch):
    sizes: list[int] = []
    decode = LatentDiffusion.decode_latents
    monkeypatch.setattr(
        LatentDiffusion, "decode_latents", lambda self, x, **how: sizes.append(len(x)) or decode(self, x, **how)
    )
    few = Samples(tmp_path, PROMPTS, seeds=[0, 1, 2], every_n_steps=None, num_inference_steps=1, batch_size=4)
    fit(tmp_path, model, [few], max_steps=1)
    assert sizes == [4, 2, 4, 2]
