"""Two processes are one with twice the batch: `trainer=ddp` on the CPU, as users type it."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import tiny_images

ROOT = Path(__file__).resolve().parents[2]
STEPS = 6
WATCH = '''
"""What each process sees: a callback of one's own."""
import torch
from lightning.pytorch import Callback


class Watch(Callback):
    def __init__(self, folder: str):
        self.folder, self.seen = folder, {}

    def on_train_batch_start(self, trainer, module, batch, index):
        self.seen.setdefault(trainer.global_step, []).extend(batch[0].noise_seeds.tolist())

    def on_validation_end(self, trainer, module):
        rows = module.learned_tokens[0].embedding.weights["clip_l"].detach().clone()
        told = {"seen": self.seen, "rows": rows, "val/loss": trainer.callback_metrics["val/loss"].item()}
        torch.save(told, f"{self.folder}/rank{trainer.global_rank}.pt")
'''
"""The package of its own is trusted by TINV_TARGETS alone."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(place):
    (place / "watching.py").write_text(WATCH)
    return place


def train(place: Path, name: str, *overrides: str) -> dict[str, Any]:
    """A run's folder, what its processes told, its numbers by step, and what it printed."""
    told = place / f"told_{name}"
    told.mkdir(exist_ok=True)
    command = [
        sys.executable,
        str(ROOT / "train.py"),
        f"name={name}",
        "model=local",
        "model.pretrained=model",
        "data.folder=pictures",
        "data.flip=true",
        "data.val_draws=4",
        "concept.placeholder_token=my-cat",
        "concept.initializer_token=toy",
        "embedding.num_vectors=2",
        "embedding.ema=0.5",
        "scheduler=linear_warmup",
        "scheduler.num_warmup_steps=2",
        "scale_lr=true",
        f"trainer.max_steps={STEPS}",
        "trainer.accumulate_grad_batches=2",
        "trainer.val_check_interval=6",
        "trainer.log_every_n_steps=1",
        "callbacks.samples.num_inference_steps=1",
        "callbacks.samples.seeds=[0]",
        "callbacks.checkpoints.every_n_steps=2",
        "callbacks.checkpoints.total_limit=null",
        "+callbacks.watch._target_=watching.Watch",
        f"+callbacks.watch.folder={told}",
        *overrides,
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TINV_TARGETS": "watching", "PYTHONPATH": str(place)}
    with subprocess.Popen(
        command, cwd=place, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        try:
            out, err = run.communicate(timeout=900)
        finally:
            with suppress(ProcessLookupError, AttributeError):
                os.killpg(run.pid, signal.SIGKILL)  # the second process too, if the first one did not end
    assert run.returncode == 0, err
    (folder,) = (place / "outputs" / name).iterdir()
    ranks = [torch.load(path, weights_only=True) for path in sorted(told.glob("rank*.pt"))]
    numbers = list(csv.DictReader((folder / "metrics.csv").open()))
    return {"folder": folder, "ranks": ranks, "numbers": numbers, "out": out, "err": err}


TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true", "data.batch_size=1")


@pytest.fixture(scope="module")
def one(place):
    return train(place, "one", "trainer=cpu", "data.batch_size=2")


@pytest.fixture(scope="module")
def two(place):
    return train(place, "two", *TWO)


def rows(run: dict[str, Any]) -> torch.Tensor:
    return load_file(run["folder"] / "learned_embeds.safetensors")["my-cat"]


def files_of(folder: Path) -> dict[str, torch.Tensor]:
    """What a run has learned, with its negative if it has one."""
    return {name: rows for path in folder.glob("learned_embeds*.safetensors") for name, rows in load_file(path).items()}


def column(run: dict[str, Any], name: str) -> dict[int, float]:
    return {int(line["step"]): float(line[name]) for line in run["numbers"] if line.get(name)}


def test_both_processes_hold_the_same_rows_and_measure_the_same_loss(two):
    assert len(two["ranks"]) == 2
    assert torch.equal(*(rank["rows"] for rank in two["ranks"]))
    assert two["ranks"][0]["val/loss"] == two["ranks"][1]["val/loss"]


def test_each_process_draws_noise_of_its_own_and_together_they_draw_what_one_would(one, two):
    """E-29: the reference script gives every process the same noise and timesteps."""
    first, second = (rank["seen"] for rank in two["ranks"])
    assert sorted(first) == sorted(second) == list(range(STEPS))
    for step in range(STEPS):
        assert not set(first[step]) & set(second[step])
        assert sorted(first[step] + second[step]) == sorted(one["ranks"][0]["seen"][step])


def test_two_processes_learn_what_one_with_twice_the_batch_learns(one, two):
    torch.testing.assert_close(rows(two), rows(one), atol=5e-5, rtol=0)
    losses = [run["ranks"][0]["val/loss"] for run in (one, two)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_the_rate_after_each_step_is_the_same_on_one_and_on_two_processes(one, two):
    """The reference's schedule runs as many times too fast as there are processes."""
    rates = column(two, "train/lr")
    assert rates == column(one, "train/lr")
    peak = 4 * 5e-3
    assert list(rates.values()) == pytest.approx([peak * share for share in (0, 0.5, 1, 0.75, 0.5, 0.25)], rel=1e-4)
    for run, made_of in ((one, "2 x 2 x 1"), (two, "1 x 2 x 2")):
        assert f"effective batch 4 = {made_of}" in run["out"]
        assert "learning rate 2e-2 = 5e-3 x 4\n" in run["out"]
        card = json.loads((run["folder"] / "run.json").read_text())
        assert (card["effective_batch"], card["learning_rate"]) == (4, pytest.approx(0.02))


def test_one_process_writes_and_leaves_what_a_single_one_leaves(one, two):
    """E-28: in the reference script every process writes the same file. One folder is claimed where it is opened."""

    def left(run: dict[str, Any]) -> set[str]:
        return {path.relative_to(run["folder"]).as_posix() for path in run["folder"].rglob("*") if path.is_file()}

    assert left(two) == left(one)
    assert two["out"].count("learned my-cat in 6 steps") == two["out"].count("effective batch") == 1
    assert "Warning" not in two["err"]


def test_a_resumed_run_of_two_processes_is_the_uninterrupted_one_to_the_last_bit(place, two):
    """E-27: the reference script keeps the first process's randomness only."""
    halved = shutil.copytree(two["folder"].parent, place / "outputs" / "halved")
    for checkpoint in halved.glob("*/checkpoints/*.ckpt"):
        if checkpoint.name > "step_000002.ckpt":
            checkpoint.unlink()
    resumed = train(place, "halved", *TWO, "resume=latest")
    assert torch.equal(rows(resumed), rows(two))
    assert torch.equal(resumed["ranks"][0]["rows"], resumed["ranks"][1]["rows"])
    assert column(resumed, "train/loss") == column(two, "train/loss")
    complete = train(place, "halved", *TWO, "resume=latest")
    assert torch.equal(rows(complete), rows(two))


@pytest.mark.parametrize("kind", ["per_timestep", "per_layer", "negative"])
def test_two_processes_learn_words_with_parts_as_one_does(place, kind):
    """Each process sees other timesteps, so that of `per_timestep` some rows are taught by one of them alone."""
    own = f"embedding={kind}"
    alone = train(place, f"{kind}_one", "trainer=cpu", "data.batch_size=2", own)
    shared = train(place, f"{kind}_two", *TWO, own)
    assert torch.equal(*(rank["rows"] for rank in shared["ranks"]))
    learned = [files_of(run["folder"]) for run in (alone, shared)]
    assert len(learned[0]) > 1
    torch.testing.assert_close(*learned, atol=5e-5, rtol=0)
    losses = [run["ranks"][0]["val/loss"] for run in (alone, shared)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert "Warning" not in shared["err"]


def test_two_concepts_on_two_processes_learn_what_each_learns_there_alone(place, two):
    tiny_images(place / "extra_concepts", count=2)
    dog = ["extra_concepts.dog.data.folder=others", "extra_concepts.dog.concept.placeholder_token=my-dog"]
    dog += ["extra_concepts.dog.concept.initializer_token=dog", "extra_concepts.dog.lr=1e-3"]
    run = train(place, "pair", *TWO, "+extra_concept@extra_concepts.dog=object", *dog)
    learned = load_file(run["folder"] / "concepts" / "my-cat" / "learned_embeds.safetensors")["my-cat"]
    assert torch.equal(learned, rows(two))
    assert {rank["val/loss"] for rank in run["ranks"]} == {run["ranks"][0]["val/loss"]}
    assert run["out"].count("my-dog: effective batch 4") == 1
    assert column(run, "val/loss/my-cat") == column(two, "val/loss")
