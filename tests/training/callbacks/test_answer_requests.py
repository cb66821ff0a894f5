"""AnswerRequests samples, saves, exports, extends and stops a run, and leaves what it learns as it was."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.optimization import get_cosine_schedule_with_warmup, get_polynomial_decay_schedule_with_warmup
from lightning.pytorch import Callback

from tests.training.callbacks.fitting import fit, vectors
from tinv.errors import RunDiscarded
from tinv.models import LatentDiffusion
from tinv.runs.image_grid import read_grid_labels
from tinv.runs.layout import checkpoint_path, list_checkpoints
from tinv.runs.reader import RunReader
from tinv.runs.record_status import record_status
from tinv.runs.requests import DONE, FAILED, REFUSED, Answer, Request, list_answers, read_answer
from tinv.runs.send_request import send_request
from tinv.training.callbacks import AnswerRequests, Checkpoints, Export, ProgressFile, RunCard, Samples
from tinv.training.loggers.csv_logger import CSVLogger


class Tell(Callback):
    """Sends requests after the given optimizer steps."""

    def __init__(self, run: Path, requests: dict[int, list[Request]]):
        self.run, self.requests = run, dict(requests)

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        for request in self.requests.pop(trainer.global_step, []):
            send_request(self.run, request)


def run_steps(run: Path, model: LatentDiffusion, requests: dict[int, list[Request]], **options: Any):
    """Trains eight steps; the requests are sent at the end of a step and answered at once."""
    callbacks = [
        RunCard(run),
        ProgressFile(run, every_s=0),
        Samples(run, ["a photo of a {}"], [0], every_n_steps=4, num_inference_steps=1),
        Export(run, every_n_steps=None),
        Checkpoints(run, every_n_steps=3, total_limit=None),
        Tell(run, requests),
        AnswerRequests(run, every_s=0),
    ]
    with record_status(run):
        return fit(run, model, callbacks, loggers=[CSVLogger(run)], **{"max_steps": 8} | options)


def rows(run: Path) -> str:
    return (run / "metrics.csv").read_text()


@pytest.fixture(scope="module")
def unasked(model, tmp_path_factory):
    run = tmp_path_factory.mktemp("unasked")
    return run_steps(run, model, {}), run


def test_a_run_that_samples_saves_and_exports_on_request_learns_the_same(tmp_path, model, unasked):
    requests = {
        2: [Request("sample", prompts=["a {}", "a dog"], seeds=[3, 4]), Request("checkpoint")],
        4: [Request("sample"), Request("export", format="a1111"), Request("export")],
        8: [Request("checkpoint"), Request("sample", seeds=[5])],
    }
    module = run_steps(tmp_path, model, requests)
    expected, folder = unasked
    assert torch.equal(vectors(module), vectors(expected)) and rows(tmp_path) == rows(folder)
    answers = list_answers(tmp_path)
    assert {answer.state for answer in answers} == {DONE}
    assert [(answer.step, answer.files) for answer in answers] == [
        (2, ["samples/step_000002_requested_1.png"]),
        (2, ["checkpoints/step_000002.ckpt"]),
        (4, ["samples/step_000004_requested_1.png"]),
        (4, ["exports/step_000004/cat-toy.pt"]),
        (4, ["exports/step_000004/learned_embeds.safetensors"]),
        (8, ["checkpoints/step_000008.ckpt"]),
        (8, ["samples/step_000008_requested_1.png"]),
    ]
    assert list(RunReader(tmp_path).requested_samples) == [2, 4, 8]
    labels = read_grid_labels(RunReader(tmp_path).requested_samples[2][0])
    assert labels.rows == ("a <cat-toy>", "a dog") and labels.columns == ("seed 3", "seed 4")
    assert [*RunReader(tmp_path).samples] == [0, 4, 8]
    assert not list((tmp_path / "requests").glob("*.json"))


def test_samples_of_one_step_prompt_and_seed_are_the_same_in_any_run(tmp_path, model):
    request = Request("sample", prompts=["a {}"], seeds=[3])
    run_steps(tmp_path / "a", model, {2: [request]})
    run_steps(tmp_path / "b", model, {1: [Request("sample")], 2: [Request("checkpoint"), request]})
    a, b = (tmp_path / name / "samples/step_000002_requested_1.png" for name in "ab")
    assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_stopped_run_ends_like_a_complete_one_and_says_so(tmp_path, model, capsys, accumulate):
    module = run_steps(tmp_path, model, {5: [Request("stop")]}, accumulate=accumulate)
    assert module.global_step == 5 and (tmp_path / "learned_embeds.safetensors").is_file()
    run = RunReader(tmp_path)
    assert (run.status.status, run.status.reason) == ("done", "stopped on request at step 5 of 8")
    assert run.card["result"]["stopped_on_request"] == {"step": 5} and run.card["status"] == "finished"
    assert run.curves["val/loss"][-1][0] == 5 and [*run.samples][-1] == 5
    assert checkpoint_path(tmp_path, 5).exists()
    (answer,) = list_answers(tmp_path)
    assert answer.state == DONE and "exported" in answer.message
    again = run_steps(tmp_path, model, {}, accumulate=accumulate, resume=list_checkpoints(tmp_path)[0])
    assert again.global_step == 8 and RunReader(tmp_path).status.reason is None


@pytest.mark.parametrize("at", [5, 8])
def test_a_discarded_run_keeps_its_logs_alone(tmp_path, model, at):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/step_000001.ckpt").write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    (run / "mine.safetensors").write_text("mine")
    (run / "exports").symlink_to(tmp_path / "outside", target_is_directory=True)
    with pytest.raises(RunDiscarded, match=f"discarded on request at step {at} of 8") as error:
        run_steps(run, model, {4: [Request("checkpoint")], at: [Request("stop", discard=True)]})
    assert error.value.code == 0
    assert sorted(path.name for path in run.iterdir()) == [
        *["images", "metrics.csv", "mine.safetensors", "progress.json", "requests", "run.json", "samples"],
        "status.json",
    ]
    assert (tmp_path / "outside/step_000001.ckpt").read_text() == "mine"
    reader = RunReader(run)
    assert reader.status.status == reader.card["status"] == "discarded" and reader.last_step
    message = list_answers(run)[-1].message
    assert "checkpoints" in message and "exports" in message and list_answers(run)[-1].state == DONE


SCHEDULES = {
    "constant": {},
    "cosine": {"scheduler": partial(get_cosine_schedule_with_warmup, num_warmup_steps=2, num_training_steps=8)},
    "polynomial": {
        "scheduler": partial(get_polynomial_decay_schedule_with_warmup, num_warmup_steps=0, num_training_steps=8)
    },
    "average": {"average_last": 0.5},
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_extended_run_is_one_that_was_stopped_and_resumed_with_more_steps(tmp_path, model, name, accumulate):
    options = {**SCHEDULES[name], "accumulate": accumulate}
    run, requests = tmp_path / "extended", {6: [Request("checkpoint"), Request("extend", steps=5)]}
    extended = run_steps(run, model, requests, **options)
    assert extended.global_step == RunReader(run).max_steps == RunReader(run).progress.max_steps == 13
    if "scheduler" in options:
        options["scheduler"] = partial(options["scheduler"], num_training_steps=13)
    again = {"resume": checkpoint_path(run, 6), "max_steps": 13}
    resumed = run_steps(tmp_path / "resumed", model, {}, **again, **options)
    assert torch.equal(vectors(extended), vectors(resumed))
    folders = (run, tmp_path / "resumed")
    late = [{step: row for step, row in RunReader(folder).metrics.items() if step > 6} for folder in folders]
    assert len(late[0]) > 6 and late[0] == late[1]


def test_a_resume_keeps_the_extension_unless_the_number_of_steps_is_set_anew(tmp_path, model):
    run_steps(tmp_path, model, {6: [Request("extend", steps=5)], 7: [Request("checkpoint")]})
    resume = checkpoint_path(tmp_path, 9)
    assert run_steps(tmp_path, model, {}, resume=resume).global_step == 13
    assert run_steps(tmp_path, model, {}, resume=resume, max_steps=10).global_step == 10


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_is_extended_again_and_again(tmp_path, model, num_workers):
    requests = {7: [Request("extend", steps=1)], 8: [Request("extend", steps=1), Request("extend", steps=1)]}
    assert run_steps(tmp_path, model, requests, num_workers=num_workers).global_step == 11


def test_after_the_last_step_a_run_is_not_extended_and_says_how_to_continue_it(tmp_path, model):
    assert run_steps(tmp_path, model, {8: [Request("extend", steps=5), Request("stop")]}).global_step == 8
    extend, stop = list_answers(tmp_path)
    assert extend.state == REFUSED and "trainer.max_steps=13" in extend.message and "resume=" in extend.message
    assert stop.state == DONE and RunReader(tmp_path).status.reason is None


@pytest.mark.parametrize(
    ("request_", "state", "message"),
    [
        (Request("export", format="unheard"), REFUSED, "Choose from diffusers"),
        (Request("sample", prompts=["{robot}"]), REFUSED, "{cat-toy} by name"),
        (Request("sample", prompts=["a {}"], guidance_scale=2.0, num_inference_steps=2), DONE, "Drew 1 images"),
    ],
)
def test_what_cannot_be_done_is_answered_and_the_run_goes_on(tmp_path, model, request_, state, message):
    assert run_steps(tmp_path, model, {3: [request_]}).global_step == 8
    (answer,) = list_answers(tmp_path)
    assert answer.state == state and message in answer.message


def test_an_unexpected_error_is_an_answer(tmp_path, model, monkeypatch, unasked):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples/step_000003_requested_1.png").mkdir()
    monkeypatch.setattr(Samples, "draw_sheet", lambda *_, **__: 1 / 0)
    callbacks = [Tell(tmp_path, {3: [Request("sample")]}), AnswerRequests(tmp_path, every_s=0)]
    with record_status(tmp_path):
        module = fit(tmp_path, model, callbacks, max_steps=8)
    (answer,) = list_answers(tmp_path)
    assert answer.state == FAILED and "ZeroDivisionError" in answer.message
    assert torch.equal(vectors(module), vectors(unasked[0]))


def test_a_request_of_an_earlier_session_is_refused(tmp_path, model):
    class Kill(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            send_request(tmp_path, Request("stop"))
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError), record_status(tmp_path):
        fit(tmp_path, model, [Kill()])
    (path,) = (tmp_path / "requests").glob("*.json")
    sent = json.loads(path.read_text())
    path.write_text(json.dumps({**sent, "session": "another:1 2026-01-01T00:00:00Z"}))
    assert run_steps(tmp_path, model, {}).global_step == 8
    assert read_answer(tmp_path, path.stem).state == REFUSED


def test_the_folder_is_not_looked_into_before_its_time(tmp_path, model):
    callbacks = [Tell(tmp_path, {2: [Request("stop")]}), AnswerRequests(tmp_path, every_s=1000)]
    with record_status(tmp_path):
        assert fit(tmp_path, model, callbacks, max_steps=6).global_step == 6
    assert [answer.step for answer in list_answers(tmp_path)] == [6]


def test_an_answer_is_final_when_the_run_has_no_more_to_say():
    answers = [Answer("", Request("stop"), state) for state in ("pending", "accepted", DONE)]
    assert [answer.is_final for answer in answers] == [False, False, True]
