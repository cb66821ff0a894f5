"""`tinv queue`: runs and sweeps one after the other, for the night."""

import argparse
import json
from pathlib import Path
from typing import Any

from tinv.sweeps.job_queue import JobQueue

_OUTPUTS = "outputs"


def add(commands: Any) -> None:
    """Adds the parsers of the command."""
    command = commands.add_parser(
        "queue",
        help="run several runs and sweeps one after the other",
        description="A queue of runs and sweeps. Its state is in OUTPUTS/.queue, so it survives a restart.",
        epilog="example: tinv queue add +experiment=cat_toy seed=1; tinv queue run",
    )
    actions = command.add_subparsers(title="actions", required=True, metavar="ACTION")

    def action(name: str, run: Any, help: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = actions.add_parser(name, help=help, description=f"{help.capitalize()}.")
        parser.add_argument("--outputs", type=Path, default=Path(_OUTPUTS), help="the folder of the queue and of runs")
        parser.set_defaults(command=run)
        return parser

    parser = action("add", add_job, "check a command of train.py and append it")
    parser.add_argument("overrides", nargs="+", metavar="OVERRIDE", help="as for train.py: +experiment=... seed=1")
    parser.add_argument("-m", "--multirun", action="store_true", help="a sweep, as for train.py")
    parser.add_argument("--config-dir", help="a folder with your own config groups, as for train.py")
    parser = action("list", list_jobs, "show the jobs, and the sweeps that Slurm runs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser = action("run", run_jobs, "run the jobs in order")
    parser.add_argument("--devices", type=lambda text: text.split(","), metavar="0,1", help="default: all GPUs")
    parser.add_argument("--n-jobs", type=int, help="jobs at once (default: one for each device)")
    parser.add_argument("--watch", action="store_true", help="wait for further jobs at the end")
    parser = action("remove", remove_jobs, "remove jobs; the folders of their runs stay")
    parser.add_argument("jobs", nargs="+", metavar="JOB", help="the number of a job")
    parser = action("move", move_job, "move a job to another position")
    parser.add_argument("job", metavar="JOB", help="the number of a job")
    parser.add_argument("position", type=int, help="1 is the first")
    parser = action("pause", pause_queue, "start no further jobs; those that run go on")
    parser.add_argument("--off", action="store_true", help="start jobs again")
    parser = action("retry", retry_jobs, "let failed jobs wait again; they go on from their checkpoints")
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="default: all that failed")


def add_job(arguments: argparse.Namespace) -> None:
    """Appends a job."""
    from tinv.training.check_command import check_job
    from tinv.training.main import register

    register()
    job = check_job(arguments.overrides, config_dir=arguments.config_dir, multirun=arguments.multirun)
    job = JobQueue(arguments.outputs).add(job)
    print(f"job {job.id}: {job.name}")


def list_jobs(arguments: argparse.Namespace) -> None:
    """Prints the jobs."""
    from tinv.sweeps.queue_table import format_queue, list_cluster_runs, queue_records

    state, cluster_runs = JobQueue(arguments.outputs).read(), list_cluster_runs(arguments.outputs)
    if arguments.json:
        records = {"is_paused": state.is_paused, "jobs": queue_records(state), "cluster_runs": cluster_runs}
        print(json.dumps(records, indent=2))
    else:
        print(format_queue(state, cluster_runs))


def run_jobs(arguments: argparse.Namespace) -> None:
    """Runs the jobs."""
    from tinv.sweeps.run_queue import run_queue

    options = {"devices": arguments.devices, "n_jobs": arguments.n_jobs, "watch": arguments.watch}
    run_queue(JobQueue(arguments.outputs), **options)


def remove_jobs(arguments: argparse.Namespace) -> None:
    """Removes jobs."""
    JobQueue(arguments.outputs).remove(arguments.jobs)


def move_job(arguments: argparse.Namespace) -> None:
    """Moves a job."""
    JobQueue(arguments.outputs).move(arguments.job, arguments.position)


def pause_queue(arguments: argparse.Namespace) -> None:
    """Pauses the queue, or lets it go on."""
    JobQueue(arguments.outputs).set_paused(not arguments.off)


def retry_jobs(arguments: argparse.Namespace) -> None:
    """Lets jobs wait again."""
    jobs = JobQueue(arguments.outputs).retry(arguments.jobs)
    print(f"waiting again: {', '.join(job.id for job in jobs) or 'none'}")
