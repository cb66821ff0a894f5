"""One process at a time uses a folder, and removes what killed ones have left there."""

import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tinv.errors import UserError
from tinv.runs import folder_lock
from tinv.runs.files import temporary_path, write_atomically
from tinv.runs.folder_lock import lock_run, remove_temporary_files
from tinv.runs.record_status import write_status
from tinv.runs.status import Status

HOLD = "import sys; from pathlib import Path; from tinv.runs.folder_lock import lock_run\n"
HOLD += "with lock_run(Path(sys.argv[1])): print('locked', flush=True); sys.stdin.read()"


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout
        first.stdout.readline()
        write_status(tmp_path, Status(process=f"{socket.gethostname()}:{first.pid}"))
        with pytest.raises(UserError, match=rf"another process \(.*:{first.pid}\) trains here"), lock_run(tmp_path):
            pass
        first.kill()
        first.wait()
        with lock_run(tmp_path):
            pass


def test_a_lock_without_a_living_process_is_waited_for(tmp_path, monkeypatch):
    write_status(tmp_path, Status(process="elsewhere:1"))
    monkeypatch.setattr(folder_lock, "PATIENCE_S", 0.2)
    with lock_run(tmp_path), pytest.raises(UserError, match=r"elsewhere:1"), lock_run(tmp_path):
        pass


def test_further_processes_of_a_run_need_no_lock(tmp_path, monkeypatch):
    with lock_run(tmp_path):
        monkeypatch.setenv("LOCAL_RANK", "1")
        with lock_run(tmp_path):
            pass


def _killed_while_writing(path: Path) -> None:
    with write_atomically(path) as draft:
        draft.write_text("incomplete")
        os._exit(9)


@pytest.mark.skipif(os.name == "nt", reason="needs fork")
def test_files_of_killed_processes_are_removed_and_those_of_living_ones_stay(tmp_path):
    process = multiprocessing.get_context("fork").Process(
        target=_killed_while_writing, args=[tmp_path / "checkpoints" / "step_000001.ckpt"]
    )
    process.start()
    process.join()
    assert [path.name for path in tmp_path.rglob("*.part")] == [
        f".step_000001.ckpt.{socket.gethostname()}.{process.pid}.part"
    ]
    living = tmp_path / f".a.csv.{socket.gethostname()}.{os.getppid()}.part"
    elsewhere, ended_elsewhere = tmp_path / ".b.other.host.7.part", tmp_path / ".b.other.host.8.part"
    other = tmp_path / ".notes.part"
    for path in (living, elsewhere, ended_elsewhere, other, temporary_path(tmp_path / "own")):
        path.touch()
    remove_temporary_files(tmp_path, ended_process="other.host:8")
    assert set(tmp_path.rglob("*.part")) == {living, elsewhere, other}


def test_a_folder_whose_replacement_was_interrupted_is_restored(tmp_path):
    for name in ("pipeline", "hub"):
        old = temporary_path(tmp_path / name, "old")
        old.mkdir()
        (old / "file").touch()
    (tmp_path / "hub").mkdir()
    remove_temporary_files(tmp_path)
    assert {path.name for path in tmp_path.rglob("*")} == {"hub", "pipeline", "file"}


@pytest.mark.skipif(os.name == "nt", reason="needs resource limits")
@pytest.mark.parametrize("is_new", [True, False])
def test_a_full_disk_is_one_sentence_before_the_run_and_leaves_the_folder_as_it_was(tmp_path, is_new):
    code = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)); sys.argv.pop(0); "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    run = tmp_path / "outputs" / "run"
    run.mkdir(parents=True)
    if not is_new:
        write_status(run, Status("interrupted"))
        (run / ".hydra").mkdir()
        (run / ".hydra" / "config.yaml").write_text("seed: 7\n")
    script = Path(__file__).resolve().parents[2] / "train.py"
    command = [sys.executable, "-c", code, str(script), "+experiment=cat_toy", f"hydra.run.dir={run}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr.strip()) == (1, f"cannot write {run}: File too large")
    assert run.exists() != is_new
    assert is_new or (run / ".hydra" / "config.yaml").read_text() == "seed: 7\n"
