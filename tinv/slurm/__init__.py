"""Slurm, as a run and a sweep see it: through its programs, the environment and two signals. Imports nothing heavy."""

from tinv.runs.slurm_job import Job, this_job

__all__ = ["Job", "this_job"]
