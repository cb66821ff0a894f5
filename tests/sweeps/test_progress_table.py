"""`tinv status`."""

import json
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tinv.cli import main as tinv
from tinv.runs.reader import RunReader
from tinv.runs.record_status import record_status, set_status, write_status
from tinv.runs.status import Status

PROGRESS = {
    "step": 620,
    "max_steps": 1000,
    "steps_per_s": 3.1,
    "seconds_left": 123,
    "loss": 0.1187,
    "written_at": "2026-11-22T20:00:00Z",
}


def write_sweep(folder: Path, **statuses: Status) -> Path:
    rows = [{"point": i, "key": str(i), "swept": {"seed": str(i)}, "differs": {}} for i in range(5)]
    (folder / "plan.json").write_text(json.dumps({"id": "x", "command": [], "points": rows}))
    for name, status in statuses.items():
        run = folder / name.removeprefix("p")
        run.mkdir()
        write_status(run, status)
        if status.status != "queued":
            (run / "progress.json").write_text(json.dumps(PROGRESS))
    return folder


def test_the_table_has_the_progress_of_every_point(tmp_path, capsys):
    write_sweep(
        tmp_path,
        p0=Status("done", value=0.5, job="71_0"),
        p1=Status("running", restarts=2, job="71_1"),
        p2=Status("requeued", reason="the time limit was near; saved at step 620", restarts=1),
        p3=Status("queued"),
    )
    assert tinv(["status", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["point", "seed", "status", "step", "rate", "left", "restarts", "loss", "job"]
    assert lines[2].split() == ["1", "1", "running", "620/1000", "3.1/s", "2m03s", "2", "0.1187", "71_1"]
    assert lines[1].split() == ["0", "0", "done", "620/1000", "0.1187", "71_0"]
    assert lines[4].split() == ["3", "3", "queued"]
    assert lines[5].split() == ["4", "4", "waiting"]
    assert lines[6] == "2: the time limit was near; saved at step 620"
    assert lines[7] == "1 done, 1 running, 1 requeued, 1 queued, 1 waiting"
    assert tinv(["status", "--json", str(tmp_path)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert (rows[1]["step"], rows[1]["restarts"], rows[1]["is_silent"]) == (620, 2, False)


def test_a_run_that_wrote_nothing_for_long_is_marked(tmp_path, capsys):
    write_sweep(tmp_path, p0=Status("running"))
    long_ago = time.time() - 7500
    for path in (tmp_path / "0").iterdir():
        os.utime(path, (long_ago, long_ago))
    assert tinv(["status", str(tmp_path)]) == 0
    result = capsys.readouterr().out
    assert "running?" in result and "0: wrote nothing for 2h05m" in result


def test_a_killed_run_of_this_machine_is_marked_at_once(tmp_path, capsys):
    with subprocess.Popen([sys.executable, "-c", ""]) as killed:
        process = f"{socket.gethostname()}:{killed.pid}"
    write_sweep(tmp_path, p0=Status("running", process=process), p1=Status("running", process="elsewhere:1"))
    assert tinv(["status", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines[1:3]] == ["running?", "running"]
    assert lines[6].startswith(f"0: its process ({process}) has ended. Resume it with")


def test_a_run_is_a_table_of_one_line(tmp_path, capsys):
    with record_status(tmp_path):
        assert tinv(["status", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == [tmp_path.name, "running"]


def test_a_folder_that_is_no_run_or_sweep_is_an_error(tmp_path, capsys):
    assert tinv(["status", str(tmp_path)]) == 1
    assert "neither a sweep (plan.json) nor a run" in capsys.readouterr().err
    assert tinv(["status", str(tmp_path / "nowhere")]) == 1


def test_a_requeued_run_counts_its_restarts_and_seconds(tmp_path):
    with pytest.raises(SystemExit), record_status(tmp_path):
        status = RunReader(tmp_path).status
        status.started = "2001-01-01T00:00:00Z"
        write_status(tmp_path, status)
        set_status(tmp_path, "requeued", "saved")
        before = RunReader(tmp_path).status
        raise SystemExit
    write_status(tmp_path, before)
    with record_status(tmp_path) as again:
        assert (again.restarts, again.first_started) == (1, before.first_started)
        assert again.seconds == before.seconds > 1e8


def test_now_is_the_start_of_the_first_session(run_main, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    began = datetime(2001, 2, 3, 12, tzinfo=UTC)
    write_status(run, Status("requeued", first_started=f"{began:%Y-%m-%dT%H:%M:%SZ}"))
    tags = []
    argv = ["+experiment=cat_toy", "tags=['${now:%Y-%m-%d}']", f"hydra.run.dir='{run.as_posix()}'", "resume=auto"]
    result = run_main(*argv, train=lambda cfg: tags.extend(OmegaConf.to_container(cfg.tags)))
    assert result.code == 0, result.err
    assert tags == [f"{began.astimezone():%Y-%m-%d}"]
    assert RunReader(run).status.restarts == 1


@pytest.mark.parametrize("content", ["[1, 2]", '{"status": "done", "started": "yesterday"}', '{"restarts": "x"}'])
def test_a_damaged_file_is_named(tmp_path, capsys, content):
    write_sweep(tmp_path, p0=Status("done"), p1=Status("running"))
    (tmp_path / "0" / "status.json").write_text(content)
    (tmp_path / "1" / "progress.json").write_text(content)
    assert tinv(["status", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("0: ") and "status.json is damaged" in line for line in lines)
    assert any(line.startswith("1: ") and "progress.json is damaged" in line for line in lines)
    assert tinv(["status", str(tmp_path / "0")]) == 1
    assert "status.json is damaged" in capsys.readouterr().err


def test_a_damaged_plan_is_named(tmp_path, capsys):
    (tmp_path / "plan.json").write_text("[1]")
    assert tinv(["status", str(tmp_path)]) == 1
    assert "plan.json is damaged (no JSON object)" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["[1]", "{}", '{"id": "x", "command": 3}'])
def test_a_sweep_with_a_damaged_plan_is_not_resumed(run_main, tmp_path, content):
    (tmp_path / "plan.json").write_text(content)
    result = run_main(f"sweep.resume={tmp_path}")
    assert result.code == 1 and result.err.startswith(f"sweep.resume={tmp_path}: {tmp_path / 'plan.json'} is damaged (")


@pytest.mark.parametrize("content", ["[1, 2]", '{"first_started": "yesterday"}', '{"seconds": []}'])
def test_a_resume_goes_on_with_a_damaged_status(run_main, tmp_path, content):
    (run := tmp_path / "run").mkdir()
    (run / "status.json").write_text(content)
    argv = ["+experiment=cat_toy", f"hydra.run.dir='{run.as_posix()}'", "resume=auto"]
    result = run_main(*argv)
    assert result.code == 0 and "status.json is damaged" in result.err
    assert RunReader(run).status.status == "done"
