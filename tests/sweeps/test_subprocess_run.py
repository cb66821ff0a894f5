"""Sweeps over runs of several processes."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE

import pytest

from tests.sweeps.outputs import column
from tests.sweeps.tiny_runs import TINY, write_tiny

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_run_of_two_processes_is_one_point(tmp_path):
    write_tiny(tmp_path)
    command = [sys.executable, str(ROOT / "train.py"), "-m", "seed=1,2", "+debug=fast", "~callbacks.samples", *TINY]
    command += ["name=two", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=PIPE, stderr=PIPE, text=True, start_new_session=True
    ) as run:
        try:
            out, err = run.communicate(timeout=600)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)  # both processes of the run
    assert run.returncode == 0, err
    (sweep,) = (tmp_path / "outputs" / "two").iterdir()
    assert sorted(path.name for path in sweep.iterdir() if path.is_dir()) == ["0", "1"]
    assert column(sweep, "status") == ["done", "done"]
    for point in ("0", "1"):
        assert (sweep / point / "learned_embeds.safetensors").is_file()
        assert len((sweep / point / "metrics.csv").read_text().splitlines()) >= 5
        assert json.loads((sweep / point / "run.json").read_text())["processes"] == 2
    assert out.count("learned my-cat in 4 steps") == 2
