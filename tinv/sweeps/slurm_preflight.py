"""Shapes of a job that contradict the trainer's: found in milliseconds, not when all processes wait for one another."""

import os
from collections.abc import Mapping
from typing import Any

from tinv.errors import UserError

_SHELLS = ("bash", "interactive")
"""Jobs of these names are shells on loan, in which Lightning starts its processes itself."""


def check_job_shape(
    trainer: Mapping[str, Any],
    *,
    nodes: int,
    tasks_per_node: int,
    gpus_per_node: int | str | None,
    gpus_elsewhere: bool = False,
) -> None:
    """Compare what is asked of Slurm with what the trainer expects.

    Args:
        trainer: its settings.
        nodes: of the job.
        tasks_per_node: of the job.
        gpus_per_node: of the job.
        gpus_elsewhere: whether it asks for GPUs in words of its own, such as `gres`.

    Raises:
        UserError: naming every line to change.
    """
    problems = []
    num_nodes, devices = trainer.get("num_nodes", 1), _count(trainer.get("devices", "auto"))
    accelerator = trainer.get("accelerator", "auto")
    if nodes != num_nodes:
        problems.append(
            f"hydra.launcher.nodes={nodes}, but the trainer expects {num_nodes}: set hydra.launcher.nodes={num_nodes} "
            f"or {_typed('num_nodes', trainer)}={nodes}"
        )
    if devices is not None and tasks_per_node != devices:
        problems.append(
            f"hydra.launcher.tasks_per_node={tasks_per_node}, but the trainer wants a process for each of {devices} "
            f"devices: set hydra.launcher.tasks_per_node={devices} or trainer.devices={tasks_per_node}"
        )
    if devices is None and nodes * tasks_per_node > 1:
        problems.append(
            f"trainer.devices={trainer.get('devices', 'auto')} leaves open how many processes there are: set "
            f"trainer.devices={tasks_per_node}, as hydra.launcher.tasks_per_node"
        )
    gpus = _gpus(gpus_per_node)
    if accelerator in ("gpu", "cuda") and not gpus and not gpus_elsewhere:
        problems.append(
            f"trainer.accelerator={accelerator}, but the job asks for no GPU: set hydra.launcher.gpus_per_node="
            f"{devices or 1}, or trainer=cpu"
        )
    if gpus and accelerator == "cpu":
        problems.append(
            f"hydra.launcher.gpus_per_node={gpus_per_node}, but trainer.accelerator=cpu leaves them idle: set "
            f"hydra.launcher.gpus_per_node=null or trainer=gpu"
        )
    if gpus and devices and accelerator != "cpu" and gpus != devices:
        problems.append(
            f"hydra.launcher.gpus_per_node={gpus_per_node}, but trainer.devices={devices}: set "
            f"hydra.launcher.gpus_per_node={devices} or trainer.devices={gpus}"
        )
    if problems:
        raise UserError("\n  ".join(["this job cannot run:", *problems]))


def job_conflicts(trainer: Mapping[str, Any], env: Mapping[str, str] = os.environ) -> list[str]:
    """The same inside of a job, whoever submitted it, or in a shell that Slurm has lent.

    Args:
        trainer: its settings.
        env: the environment.
    """
    if "SLURM_JOB_ID" not in env or env.get("SLURM_JOB_NAME") in _SHELLS:
        return []
    nodes, tasks = int(env.get("SLURM_NNODES", "1")), int(env.get("SLURM_NTASKS", "1"))
    num_nodes, devices = trainer.get("num_nodes", 1), _count(trainer.get("devices", "auto"))
    is_batch = env.get("ENVIRONMENT") == "BATCH"
    problems = []
    if nodes != num_nodes and (is_batch or num_nodes > 1):
        problems.append(
            f"the job has {nodes} node{'s' * (nodes > 1)}, the trainer expects {num_nodes}: set "
            f"{_typed('num_nodes', trainer)}={nodes}, or #SBATCH --nodes={num_nodes}"
        )
    per_node = tasks // max(1, nodes)
    if devices is not None and tasks > 1 and per_node != devices:
        problems.append(
            f"the job has {per_node} task{'s' * (per_node > 1)} on each node, the trainer wants one for each of "
            f"{devices} device{'s' * (devices > 1)}: set trainer.devices={per_node}, or #SBATCH "
            f"--ntasks-per-node={devices}"
        )
    if is_batch and devices is not None and devices > 1 and env.get("SLURM_NTASKS") == "1":
        problems.append(
            f"trainer.devices={devices}, but the job has a single task: set #SBATCH --ntasks-per-node={devices} and "
            f"start the run with srun, or trainer.devices=1"
        )
    if tasks > 1 and "SLURM_STEP_ID" not in env:
        problems.append(
            f"the job has {tasks} tasks, but this is a single process that would wait for the others: start it with "
            f"srun, or ask for --ntasks=1"
        )
    has_gpus = any(env.get(name) for name in ("SLURM_GPUS_ON_NODE", "SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES"))
    if is_batch and trainer.get("accelerator") in ("gpu", "cuda") and not has_gpus:
        problems.append("trainer.accelerator=gpu, but the job has no GPU: set #SBATCH --gpus-per-node, or trainer=cpu")
    return problems


def _typed(name: str, trainer: Mapping[str, Any]) -> str:
    """How a setting is written: one that is not in the YAML yet is added."""
    return f"trainer.{name}" if name in trainer else f"+trainer.{name}"


def _count(devices: Any) -> int | None:
    """How many devices are meant, or None if that depends on the machine."""
    if isinstance(devices, str):
        return int(devices) if devices.lstrip("+").isdigit() else None
    return devices if isinstance(devices, int) and devices > 0 else None if isinstance(devices, int) else len(devices)


def _gpus(asked: int | str | None) -> int:
    """`2`, `a100:2` or `a100` -> how many."""
    if asked is None:
        return 0
    last = str(asked).rpartition(":")[2]
    return int(last) if last.isdigit() else 1
