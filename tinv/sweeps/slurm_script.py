"""The batch script of a job array, and the options of sbatch."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

_GUARD = """trap "" TERM USR2; exec "$@\""""
"""Ignores the signals until Python handles them; they would end the process, and with it the job."""


def job_options(
    *,
    partition: str | None,
    account: str | None,
    time: int,
    signal: str,
    nodes: int,
    tasks_per_node: int,
    gpus_per_node: int | str | None,
    cpus_per_task: int,
    mem_gb: float | None,
    extra_options: Mapping[str, str | int | None],
) -> dict[str, str | None]:
    """Returns the options of sbatch that are set.

    Args:
        partition: the partition.
        account: the account.
        time: time limit in minutes.
        signal: the signal before the time limit, as `USR2@180`.
        nodes: number of nodes.
        tasks_per_node: processes on each node.
        gpus_per_node: GPUs of each node.
        cpus_per_task: cores of each process.
        mem_gb: memory of each node in GB.
        extra_options: further options, which replace those above; None for an option that takes no value.
    """
    own = {
        "partition": partition,
        "account": account,
        "time": time,
        "signal": signal,
        "nodes": nodes,
        "ntasks-per-node": tasks_per_node,
        "gpus-per-node": gpus_per_node,
        "cpus-per-task": cpus_per_task,
        "mem": None if mem_gb is None else f"{round(mem_gb * 1024)}M",
        "open-mode": "append",
    }
    options: dict[str, str | None] = {name: str(value) for name, value in own.items() if value is not None}
    options["requeue"] = None
    return options | {name: None if value is None else str(value) for name, value in extra_options.items()}


def batch_script(
    commands: Mapping[int, Sequence[str]], *, cpus_per_task: int, source: Path, setup: Sequence[str] = ()
) -> str:
    """Returns the script of a job array, in which each task runs the command with its number.

    Args:
        commands: program and arguments by task number.
        cpus_per_task: cores of each process; srun does not inherit them from sbatch.
        source: the folder that comes first in PYTHONPATH.
        setup: shell lines before the run.
    """
    cases = [f"{number}) set -- {shlex.join(command)} ;;" for number, command in commands.items()]
    lines = [
        "#!/usr/bin/env bash",
        *setup,
        f"export PYTHONPATH={shlex.quote(str(source))}${{PYTHONPATH:+:$PYTHONPATH}} PYTHONUNBUFFERED=1",
        "case $SLURM_ARRAY_TASK_ID in",
        *cases,
        "esac",
        "trap : TERM USR2 # the run handles them, this shell only waits",
        f"srun --kill-on-bad-exit=1 --cpus-per-task={cpus_per_task} bash -c '{_GUARD}' - \"$@\"",
    ]
    return "\n".join(lines) + "\n"
