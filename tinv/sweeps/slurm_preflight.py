"""Finds contradictions between the shape of a Slurm job and the trainer, before all processes wait for one another."""

import os
from collections.abc import Mapping
from typing import Any

from tinv.errors import UserError

_INTERACTIVE = ("bash", "interactive")
"""Names of jobs that are interactive shells, in which Lightning starts its processes itself."""


def check_job_shape(
    trainer: Mapping[str, Any],
    *,
    nodes: int,
    tasks_per_node: int,
    gpus_per_node: int | str | None,
    has_gpu_options: bool = False,
) -> None:
    """Checks a job that is about to be submitted against the trainer.

    Args:
        trainer: the trainer's settings.
        nodes: number of nodes of the job.
        tasks_per_node: processes on each node.
        gpus_per_node: GPUs of each node.
        has_gpu_options: whether further options of sbatch, such as `gres`, request GPUs.

    Raises:
        UserError: names each setting to change.
    """
    problems = []
    num_nodes, devices = trainer.get("num_nodes", 1), _count(trainer.get("devices", "auto"))
    accelerator = trainer.get("accelerator", "auto")
    if nodes != num_nodes:
        problems.append(
            f"hydra.launcher.nodes={nodes}, but the trainer expects {num_nodes}: set hydra.launcher.nodes={num_nodes} "
            f"or {_override('num_nodes', trainer)}={nodes}"
        )
    if devices is not None and tasks_per_node != devices:
        problems.append(
            f"hydra.launcher.tasks_per_node={tasks_per_node}, but the trainer expects a process for each of {devices} "
            f"devices: set hydra.launcher.tasks_per_node={devices} or trainer.devices={tasks_per_node}"
        )
    if devices is None and nodes * tasks_per_node > 1:
        problems.append(
            f"trainer.devices={trainer.get('devices', 'auto')} does not say how many processes there are: set "
            f"trainer.devices={tasks_per_node}, as hydra.launcher.tasks_per_node"
        )
    gpus = _gpu_count(gpus_per_node)
    if accelerator in ("gpu", "cuda") and not gpus and not has_gpu_options:
        problems.append(
            f"trainer.accelerator={accelerator}, but the job requests no GPU: set hydra.launcher.gpus_per_node="
            f"{devices or 1}, or trainer=cpu"
        )
    if gpus and accelerator == "cpu":
        problems.append(
            f"hydra.launcher.gpus_per_node={gpus_per_node}, but trainer.accelerator=cpu does not use them: set "
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
    """Returns the contradictions between the trainer and the Slurm job in which this process runs.

    Args:
        trainer: the trainer's settings.
        env: the environment.
    """
    if "SLURM_JOB_ID" not in env or env.get("SLURM_JOB_NAME") in _INTERACTIVE:
        return []
    nodes, tasks = int(env.get("SLURM_NNODES", "1")), int(env.get("SLURM_NTASKS", "1"))
    num_nodes, devices = trainer.get("num_nodes", 1), _count(trainer.get("devices", "auto"))
    is_batch = env.get("ENVIRONMENT") == "BATCH"
    problems = []
    if nodes != num_nodes and (is_batch or num_nodes > 1):
        problems.append(
            f"the job has {nodes} node{'s' * (nodes > 1)}, the trainer expects {num_nodes}: set "
            f"{_override('num_nodes', trainer)}={nodes}, or #SBATCH --nodes={num_nodes}"
        )
    per_node = tasks // max(1, nodes)
    if devices is not None and tasks > 1 and per_node != devices:
        problems.append(
            f"the job has {per_node} task{'s' * (per_node > 1)} on each node, the trainer expects one for each of "
            f"{devices} device{'s' * (devices > 1)}: set trainer.devices={per_node}, or #SBATCH "
            f"--ntasks-per-node={devices}"
        )
    if is_batch and devices is not None and devices > 1 and env.get("SLURM_NTASKS") == "1":
        problems.append(
            f"trainer.devices={devices}, but the job has a single task: set #SBATCH --ntasks-per-node={devices} and "
            f"start the run with srun, or set trainer.devices=1"
        )
    if tasks > 1 and "SLURM_STEP_ID" not in env:
        problems.append(
            f"the job has {tasks} tasks, but this single process would wait for the others: start it with "
            f"srun, or request --ntasks=1"
        )
    has_gpus = any(env.get(name) for name in ("SLURM_GPUS_ON_NODE", "SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES"))
    if is_batch and trainer.get("accelerator") in ("gpu", "cuda") and not has_gpus:
        problems.append("trainer.accelerator=gpu, but the job has no GPU: set #SBATCH --gpus-per-node, or trainer=cpu")
    return problems


def _override(name: str, trainer: Mapping[str, Any]) -> str:
    """The override that sets a trainer's argument: one that is not in the YAML must be added."""
    return f"trainer.{name}" if name in trainer else f"+trainer.{name}"


def _count(devices: Any) -> int | None:
    """The number of devices, or None if it depends on the machine."""
    if isinstance(devices, str):
        return int(devices) if devices.lstrip("+").isdigit() else None
    return devices if isinstance(devices, int) and devices > 0 else None if isinstance(devices, int) else len(devices)


def _gpu_count(gpus_per_node: int | str | None) -> int:
    """The number of GPUs in `2`, `a100:2` or `a100`."""
    if gpus_per_node is None:
        return 0
    last = str(gpus_per_node).rpartition(":")[2]
    return int(last) if last.isdigit() else 1
