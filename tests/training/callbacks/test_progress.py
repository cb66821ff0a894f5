"""Progress shows one bar for the run, or a line for every tenth of it."""

import io

from tests.training.callbacks.fitting import crash, fit
from tinv.training.callbacks import Checkpoints, Progress


def test_without_a_terminal_it_prints_a_line_every_tenth_and_nothing_at_refresh_rate_0(tmp_path, model, capsys):
    fit(tmp_path, model, [Progress(refresh_rate=0)], max_steps=2)
    assert "<cat-toy>" not in capsys.readouterr().out
    fit(tmp_path, model, [Progress()], max_steps=20)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("<cat-toy>")]
    assert [line.split()[2] for line in lines] == [f"{step}/20" for step in range(2, 21, 2)]
    assert all(part in lines[-1] for part in ("loss ", "val ", "lr 0.005", "steps/s", "00:00 left"))


def test_on_a_terminal_it_shows_one_bar_of_optimizer_steps(tmp_path, model, monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", screen)
    fit(tmp_path, model, [Progress()], max_steps=5, accumulate=2)
    bars = [part for part in screen.getvalue().replace("\n", "\r").split("\r") if part.startswith("<cat-toy>")]
    assert "0/5" in bars[0] and "5/5" in bars[-1]
    assert all(part in bars[-1] for part in ("100%", "steps/s", "loss=", "val=", "lr=0.005"))


def test_a_resumed_run_starts_at_its_step(tmp_path, model, capsys):
    bar, resume = Progress(), crash(tmp_path, model, [Checkpoints(tmp_path, 4)], 5, max_steps=10)
    fit(tmp_path, model, [bar], max_steps=10, resume=resume)
    assert (bar.train_progress_bar.initial, bar.train_progress_bar.n, bar.train_progress_bar.total) == (4, 10, 10)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("<cat-toy>")]
    assert [line.split()[2] for line in lines] == [f"{step}/10" for step in range(5, 11)]
