"""Checks of Slurm jobs, and their scripts, without Slurm."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.sweeps.outputs import column
from tinv.config.compose import Groups
from tinv.errors import UserError
from tinv.runs.reader import RunReader
from tinv.runs.slurm_job import current_job
from tinv.sweeps.dry_run import plugin_problems
from tinv.sweeps.slurm_launcher import SlurmLauncher
from tinv.sweeps.slurm_preflight import check_job_shape, job_conflicts
from tinv.sweeps.slurm_script import batch_script, job_options

BATCH = {"SLURM_JOB_ID": "7", "ENVIRONMENT": "BATCH", "SLURM_JOB_NAME": "tinv"}
STEP = {**BATCH, "SLURM_STEP_ID": "0"}
JOB_SHAPE = {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": None}
ROOT = Path(__file__).resolve().parents[2]
ONE_DEVICE, TWO_DEVICES = {"devices": 1}, {"devices": 2}


@pytest.mark.parametrize(
    ("trainer", "env", "remedies"),
    [
        (ONE_DEVICE, {}, []),
        (ONE_DEVICE, {**STEP, "SLURM_NTASKS": "1", "SLURM_NNODES": "1"}, []),
        (TWO_DEVICES, {**STEP, "SLURM_NTASKS": "2", "SLURM_NNODES": "1"}, []),
        ({"devices": 2, "num_nodes": 2}, {**STEP, "SLURM_NTASKS": "4", "SLURM_NNODES": "2"}, []),
        ({"devices": "auto"}, {**STEP, "SLURM_NTASKS": "2", "SLURM_NNODES": "1"}, []),
        (ONE_DEVICE, {**STEP, "SLURM_NTASKS": "4", "SLURM_NNODES": "1"}, ["trainer.devices=4", "--ntasks-per-node=1"]),
        (TWO_DEVICES, {**STEP, "SLURM_NTASKS": "1", "SLURM_NNODES": "1"}, ["--ntasks-per-node=2", "trainer.devices=1"]),
        (ONE_DEVICE, {**STEP, "SLURM_NTASKS": "2", "SLURM_NNODES": "2"}, ["+trainer.num_nodes=2", "--nodes=1"]),
        ({"devices": 1, "num_nodes": 2}, {**STEP, "SLURM_NTASKS": "1", "SLURM_NNODES": "1"}, ["trainer.num_nodes=1"]),
        (TWO_DEVICES, {**BATCH, "SLURM_NTASKS": "2", "SLURM_NNODES": "1"}, ["start it with srun"]),
        (
            ONE_DEVICE,
            {**BATCH, "ENVIRONMENT": "", "SLURM_NTASKS": "3", "SLURM_NNODES": "1"},
            ["trainer.devices=3", "srun"],
        ),
        (TWO_DEVICES, {**BATCH, "SLURM_JOB_NAME": "bash", "ENVIRONMENT": "", "SLURM_NTASKS": "1"}, []),
        ({"devices": 1, "accelerator": "gpu"}, {**STEP, "SLURM_NTASKS": "1"}, ["--gpus-per-node", "trainer=cpu"]),
        ({"devices": 1, "accelerator": "gpu"}, {**STEP, "SLURM_NTASKS": "1", "SLURM_GPUS_ON_NODE": "1"}, []),
    ],
)
def test_a_conflict_inside_of_a_job_names_the_remedies(trainer, env, remedies):
    problems = "\n".join(job_conflicts(trainer, env))
    assert bool(problems) == bool(remedies), problems
    for remedy in remedies:
        assert remedy in problems


@pytest.mark.parametrize(
    ("trainer", "shape", "remedies"),
    [
        (ONE_DEVICE, (1, 1, None), []),
        ({"devices": 2, "accelerator": "gpu"}, (1, 2, "a100:2"), []),
        ({"devices": [0, 1]}, (1, 2, None), []),
        (ONE_DEVICE, (2, 1, None), ["hydra.launcher.nodes=1", "+trainer.num_nodes=2"]),
        (ONE_DEVICE, (1, 4, None), ["hydra.launcher.tasks_per_node=1", "trainer.devices=4"]),
        ({"devices": "auto"}, (1, 2, None), ["trainer.devices=2"]),
        ({"devices": 1, "accelerator": "gpu"}, (1, 1, None), ["hydra.launcher.gpus_per_node=1", "trainer=cpu"]),
        ({"devices": 1, "accelerator": "cpu"}, (1, 1, 1), ["hydra.launcher.gpus_per_node=null"]),
        (
            {"devices": 1, "accelerator": "auto"},
            (1, 1, "h100:4"),
            ["hydra.launcher.gpus_per_node=1", "trainer.devices=4"],
        ),
    ],
)
def test_a_conflict_before_submission_names_the_remedies(trainer, shape, remedies):
    options = dict(zip(("nodes", "tasks_per_node", "gpus_per_node"), shape))
    if not remedies:
        check_job_shape(trainer, **options)
        return
    with pytest.raises(UserError) as refused:
        check_job_shape(trainer, **options)
    for remedy in remedies:
        assert remedy in str(refused.value)


def test_further_options_can_request_gpus():
    check_job_shape({"devices": 1, "accelerator": "gpu"}, **JOB_SHAPE, has_gpu_options=True)


def test_a_run_in_a_job_of_another_shape_ends_at_once(run_main, monkeypatch):
    for name, value in {**STEP, "SLURM_NTASKS": "4", "SLURM_NNODES": "1"}.items():
        monkeypatch.setenv(name, value)
    result = run_main("+experiment=cat_toy")
    assert result.code == 1
    assert result.err.startswith("this run cannot start:\n  the job has 4 tasks on each node")


@pytest.mark.parametrize("launcher", ["slurm", "my_cluster"])
def test_a_site_file_fits_the_launcher_and_a_misspelled_setting_is_an_error(launcher):
    groups = Groups(str(ROOT / "sweep"))
    assert not plugin_problems(groups.join([f"hydra/launcher={launcher}"]).hydra.launcher, "hydra.launcher")
    wrong = groups.join([f"hydra/launcher={launcher}", "+hydra.launcher.mem_gbs=3"])
    (problem,) = plugin_problems(wrong.hydra.launcher, "hydra.launcher")
    assert problem == "hydra.launcher.mem_gbs: SlurmLauncher takes no such argument (did you mean mem_gb?)"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"timeout_min": 3, "signal_delay_s": 180}, "signal_delay_s=180: it is not less than the session"),
        ({"array_parallelism": 0}, "array_parallelism=0: must be 1 or more"),
        ({"options": {"mem-per-cpu": "2G"}}, "mem-per-cpu limits the same memory"),
    ],
)
def test_contradicting_settings_of_the_launcher_are_an_error(settings, reason):
    with pytest.raises(UserError, match=reason):
        SlurmLauncher(**settings)


def test_a_job_has_the_id_of_squeue_and_an_interactive_shell_is_no_job():
    array = {**BATCH, "SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "3", "SLURM_RESTART_COUNT": "2"}
    assert (current_job(array).id, current_job(array).restarts) == ("5_3", 2)
    assert current_job(BATCH).id == "7"
    assert current_job({"SLURM_JOB_ID": "7"}) is None and current_job({}) is None


def test_unset_options_are_omitted_and_further_options_override():
    options = {"partition": None, "account": "lab", "time": 60, "signal": "USR2@90", "nodes": 1, "tasks_per_node": 1}
    more = {"gpus_per_node": None, "cpus_per_task": 4, "mem_gb": 0.5}
    problems = job_options(**options, **more, extra_options={"qos": "long", "mem": "1G", "exclusive": None})
    assert "partition" not in problems and "gpus-per-node" not in problems
    assert (problems["account"], problems["mem"], problems["qos"], problems["exclusive"]) == ("lab", "1G", "long", None)
    assert problems["requeue"] is None and problems["signal"] == "USR2@90"


def test_a_batch_script_passes_arguments_unchanged(tmp_path):
    arguments = ["a b", "it's", '"x"', "$HOME", "tags=['${now:%f}']"]
    fake = tmp_path / "srun"
    fake.write_text('#!/bin/bash\nwhile [ "$1" != - ]; do shift; done; shift; printf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    script = tmp_path / "job.sh"
    script.write_text(batch_script({0: ["no"], 3: ["echo", *arguments]}, cpus_per_task=1, source=tmp_path / "a folder"))
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "3"}
    result = subprocess.run(["bash", str(script)], env=env, capture_output=True, text=True, check=True).stdout
    assert result.splitlines() == ["echo", *arguments]


def put_slurm_commands_on_path(folder, monkeypatch, **scripts: str) -> None:
    folder.mkdir()
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_points_that_sbatch_refuses_have_failed_with_its_reason(run_main, tmp_path, monkeypatch):
    refuse = "echo 'sbatch: error: Invalid account specified' >&2; exit 1"
    put_slurm_commands_on_path(tmp_path / "bin", monkeypatch, sbatch=refuse, squeue="exit 0")
    result = run_main("-m", "+experiment=cat_toy", "seed=1,2", "hydra/launcher=slurm")
    reason = "sbatch: Invalid account specified; change hydra.launcher.account"
    assert (result.code, result.err.count(reason), "Traceback" in result.err) == (1, 1, False)
    (folder,) = (tmp_path / "outputs" / "cat_toy").iterdir()
    assert (column(folder, "status"), column(folder, "reason")) == (["failed"] * 2, [reason] * 2)
    assert [RunReader(folder / point).status.reason for point in ("0", "1")] == [reason] * 2


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_a_refused_job_names_the_jobs_that_go_on(run_main, tmp_path, monkeypatch):
    """Two trials are submitted; the first is lost, and sbatch refuses the third."""
    submitted = tmp_path / "submitted"
    refuse = f"[ -e {submitted} ] && {{ echo 'sbatch: error: Invalid qos' >&2; exit 1; }}; touch {submitted}; echo 7"
    squeue = f"[ -e {submitted} ] && echo '7|1|RUNNING|None|'; exit 0"
    put_slurm_commands_on_path(tmp_path / "bin", monkeypatch, sbatch=refuse, squeue=squeue)
    launcher = ["hydra/launcher=slurm", "hydra.launcher.array_parallelism=2", "hydra.launcher.poll_s=0.05"]
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "optimizer.lr=interval(1e-4,1e-2)"]
    result = run_main("-m", "+experiment=cat_toy", *search, *launcher)
    assert (result.code, "Invalid qos" in result.err, "Traceback" in result.err) == (1, True, False)
    assert "The jobs go on" in result.out and "scancel 7" in result.out
