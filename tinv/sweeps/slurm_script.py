"""What Slurm runs: a script for bash, and the options that go with it."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

_GUARD = """trap "" TERM USR2; exec "$@\""""
"""Until Python listens, a signal is ignored; it would end the process, and with it the job."""


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
    further: Mapping[str, str | int | None],
) -> dict[str, str | None]:
    """The options of sbatch, without those that are not set.

    Args:
        partition: where.
        account: on whose.
        time: minutes.
        signal: what is sent before, and when.
        nodes: how many.
        tasks_per_node: processes on each.
        gpus_per_node: on each.
        cpus_per_task: cores of each process.
        mem_gb: of each node.
        further: whatever else, with or without a value; these win.
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
    told: dict[str, str | None] = {name: str(value) for name, value in own.items() if value is not None}
    told["requeue"] = None
    return told | {name: None if value is None else str(value) for name, value in further.items()}


def batch_script(
    commands: Mapping[int, Sequence[str]], *, cpus_per_task: int, source: Path, setup: Sequence[str] = ()
) -> str:
    """The script of an array: each task runs the command of its number.

    Args:
        commands: program and arguments, by task.
        cpus_per_task: cores of each process; srun does not take them over from sbatch.
        source: where Python looks first.
        setup: lines before.
    """
    cases = [f"{number}) set -- {shlex.join(command)} ;;" for number, command in commands.items()]
    lines = [
        "#!/usr/bin/env bash",
        *setup,
        f"export PYTHONPATH={shlex.quote(str(source))}${{PYTHONPATH:+:$PYTHONPATH}} PYTHONUNBUFFERED=1",
        "case $SLURM_ARRAY_TASK_ID in",
        *cases,
        "esac",
        "trap : TERM USR2 # the run answers them, this shell only waits",
        f"srun --kill-on-bad-exit=1 --cpus-per-task={cpus_per_task} bash -c '{_GUARD}' - \"$@\"",
    ]
    return "\n".join(lines) + "\n"
