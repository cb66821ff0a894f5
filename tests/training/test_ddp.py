"""`trainer=ddp` on the CPU: two processes learn what one with twice the batch size learns."""

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

from tests.conftest import ROOT
from tests.tiny import tiny_images

STEPS = 6
CALLBACK = '''
"""A callback in a user's package, which only TINV_TARGETS allows: records what each process sees."""
import torch
from lightning.pytorch import Callback


class Record(Callback):
    def __init__(self, folder: str):
        self.folder, self.seeds = folder, {}

    def on_train_batch_start(self, trainer, module, batch, index):
        self.seeds.setdefault(trainer.global_step, []).extend(batch[0].noise_seeds.tolist())

    def on_validation_end(self, trainer, module):
        weights = module.learned_tokens[0].embedding.weights
        vectors = {role: vectors_KD.detach().clone() for role, vectors_KD in weights.items()}
        record = {"seeds": self.seeds, "vectors": vectors, "val/loss": trainer.callback_metrics["val/loss"].item()}
        torch.save(record, f"{self.folder}/rank{trainer.global_rank}.pt")
'''
TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true", "data.batch_size=1")

pytestmark = pytest.mark.slow


def train(workspace: Path, name: str, *overrides: str) -> dict[str, Any]:
    """Run training; returns the run's folder, each process's record, the metrics, and the output."""
    records = workspace / f"records_{name}"
    records.mkdir(exist_ok=True)
    settings = f"""name={name} model=local model.pretrained=model data.folder=images data.flip=true data.val_draws=4
    concept.placeholder_token=my-cat concept.initializer_token=toy embedding.num_vectors=2 embedding.ema=0.5
    scheduler=linear_warmup scheduler.num_warmup_steps=2 scale_lr=true trainer.max_steps={STEPS}
    trainer.accumulate_grad_batches=2 trainer.val_check_interval=6 trainer.log_every_n_steps=1
    callbacks.samples.num_inference_steps=1 callbacks.samples.seeds=[0] callbacks.checkpoints.every_n_steps=2
    callbacks.checkpoints.total_limit=null +callbacks.record._target_=recording.Record
    +callbacks.record.folder={records}"""
    command = [sys.executable, str(ROOT / "train.py"), *settings.split(), *overrides]
    (workspace / "recording.py").write_text(CALLBACK)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TINV_TARGETS": "recording", "PYTHONPATH": f"{workspace}:{ROOT}"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=workspace, env=env, start_new_session=True, **pipes) as process:
        try:
            out, err = process.communicate(timeout=900)
        finally:
            with suppress(ProcessLookupError, AttributeError):
                os.killpg(process.pid, signal.SIGKILL)  # the second process too, if the first did not end
    assert process.returncode == 0, err
    (folder,) = (workspace / "outputs" / name).iterdir()
    ranks = [torch.load(path, weights_only=True) for path in sorted(records.glob("rank*.pt"))]
    metrics = list(csv.DictReader((folder / "metrics.csv").open()))
    return {"folder": folder, "ranks": ranks, "metrics": metrics, "out": out, "err": err}


@pytest.fixture(scope="module")
def single(workspace):
    return train(workspace, "single", "trainer=cpu", "data.batch_size=2")


@pytest.fixture(scope="module")
def ddp(workspace):
    return train(workspace, "ddp", *TWO)


def learned(folder: Path) -> dict[str, torch.Tensor]:
    """Every learned tensor, with those of the negative."""
    return {name: v for path in folder.glob("learned_embeds*.safetensors") for name, v in load_file(path).items()}


def column(run: dict[str, Any], name: str) -> dict[int, float]:
    return {int(line["step"]): float(line[name]) for line in run["metrics"] if line.get(name)}


def assert_learns_the_same(single: dict[str, Any], ddp: dict[str, Any]) -> None:
    assert len(ddp["ranks"]) == 2
    torch.testing.assert_close(*(rank["vectors"] for rank in ddp["ranks"]), atol=0, rtol=0)
    assert ddp["ranks"][0]["val/loss"] == ddp["ranks"][1]["val/loss"]
    torch.testing.assert_close(learned(ddp["folder"]), learned(single["folder"]), atol=5e-5, rtol=0)
    assert ddp["ranks"][0]["val/loss"] == pytest.approx(single["ranks"][0]["val/loss"], abs=1e-5)
    assert "Warning" not in ddp["err"]


def test_two_processes_learn_what_one_with_twice_the_batch_size_learns(single, ddp):
    assert_learns_the_same(single, ddp)


@pytest.mark.parametrize("kind", ["per_timestep", "per_layer", "negative"])
def test_two_processes_learn_the_same_extended_embedding(workspace, kind):
    """The processes see different timesteps, so with `per_timestep` one of them may have no gradient of a stage."""
    single = train(workspace, f"{kind}_single", "trainer=cpu", "data.batch_size=2", f"embedding={kind}")
    assert_learns_the_same(single, train(workspace, f"{kind}_ddp", *TWO, f"embedding={kind}"))


def test_processes_split_the_samples_of_a_single_one(single, ddp):
    """In the reference script every process draws the same noise and timesteps."""
    first, second = (rank["seeds"] for rank in ddp["ranks"])
    assert sorted(first) == sorted(second) == list(range(STEPS))
    for step in range(STEPS):
        assert not set(first[step]) & set(second[step])
        assert sorted(first[step] + second[step]) == sorted(single["ranks"][0]["seeds"][step])


def test_learning_rate_does_not_depend_on_the_number_of_processes(single, ddp):
    """The reference script steps its schedule once for each process."""
    rates = column(ddp, "train/lr")
    assert rates == column(single, "train/lr")
    expected = [4 * 5e-3 * share for share in (0, 0.5, 1, 0.75, 0.5, 0.25)]
    assert list(rates.values()) == pytest.approx(expected, rel=1e-4)
    for run, factors in ((single, "2 x 2 x 1"), (ddp, "1 x 2 x 2")):
        assert f"4 = {factors}" in run["out"]
        card = json.loads((run["folder"] / "run.json").read_text())
        assert (card["effective_batch"], card["learning_rate"]) == (4, pytest.approx(0.02))


def test_one_process_writes_the_files_of_a_single_one(single, ddp):
    """In the reference script every process writes the same file."""
    files = [
        {path.relative_to(run["folder"]).as_posix() for path in run["folder"].rglob("*") if path.is_file()}
        for run in (single, ddp)
    ]
    assert files[0] == files[1]
    assert ddp["out"].count("learned my-cat in 6 steps") == ddp["out"].count("effective batch") == 1


def test_resumed_run_is_bit_identical(workspace, ddp):
    """The reference script saves the random state of the first process alone."""
    copy = shutil.copytree(ddp["folder"].parent, workspace / "outputs" / "resumed")
    for checkpoint in copy.glob("*/checkpoints/*.ckpt"):
        if checkpoint.name > "step_000002.ckpt":
            checkpoint.unlink()
    for _ in ("from step 2", "from the end"):
        resumed = train(workspace, "resumed", *TWO, "resume=latest")
        torch.testing.assert_close(learned(resumed["folder"]), learned(ddp["folder"]), atol=0, rtol=0)
        torch.testing.assert_close(*(rank["vectors"] for rank in resumed["ranks"]), atol=0, rtol=0)
    assert column(resumed, "train/loss") == column(ddp, "train/loss")


def test_two_concepts_learn_what_each_learns_alone(workspace, ddp):
    tiny_images(workspace / "dogs", count=2)
    dog = "extra_concepts.dog"
    settings = f"""+extra_concept@{dog}=object {dog}.data.folder=dogs {dog}.concept.placeholder_token=my-dog
    {dog}.concept.initializer_token=dog {dog}.lr=1e-3"""
    run = train(workspace, "pair", *TWO, *settings.split())
    cat = learned(run["folder"] / "concepts" / "my-cat")
    torch.testing.assert_close(cat, learned(ddp["folder"]), atol=0, rtol=0)
    assert len({rank["val/loss"] for rank in run["ranks"]}) == 1
    assert run["out"].count("my-dog: effective batch") == 1
    assert column(run, "val/loss/my-cat") == column(ddp, "val/loss")
