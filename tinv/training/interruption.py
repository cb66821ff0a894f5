"""What a signal means for a run: the exception that ends it, and the sentence how to go on."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from tinv.config.secrets import hide_override
from tinv.errors import RunInterrupted, UserError, error_message
from tinv.runs.layout import checkpoint_step, list_checkpoints
from tinv.runs.signals import discard_closed_output, received_signal
from tinv.sweeps.child_process import quote_path
from tinv.sweeps.launchers import display_path


def find_interruption(error: BaseException) -> RunInterrupted | None:
    """Returns the interruption that an exception is or is caused by, or None."""
    if isinstance(error, RunInterrupted):
        return error
    if isinstance(error, BrokenPipeError) and discard_closed_output():
        return RunInterrupted(signal.SIGPIPE)
    if isinstance(error, KeyboardInterrupt) or (
        isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt)  # Lightning's exit(1)
    ):
        return RunInterrupted(signal.SIGINT)
    number = received_signal()
    if number is None or isinstance(error, UserError) or (isinstance(error, SystemExit) and error.code):
        return None
    cause: BaseException | None = error
    while cause := cause and cause.__context__:  # an extension module replaces what is raised during its import
        if isinstance(cause, RunInterrupted):
            return cause
    return RunInterrupted(number, error_message(error))  # the signal has reached a process that the run needs


def describe_resume(run_dir: Path) -> str:
    """Returns where the state of an interrupted run is, and the command that goes on from there."""
    checkpoints = list_checkpoints(run_dir)
    if not checkpoints:
        return f"{display_path(run_dir)} has no checkpoint to go on from; start the run again."
    path = display_path(run_dir)
    value = path if path.replace("\\", "").replace("/", "").replace("-", "").isidentifier() else quote_path(run_dir)
    overrides = [hide_override(text) for text in sys.argv[1:] if not text.startswith("resume=")]
    program = ["python", sys.argv[0]] if sys.argv[0].endswith(".py") else [Path(sys.argv[0]).name]
    command = [*program, *overrides, f"resume={value}"]
    text = subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)
    step = checkpoint_step(checkpoints[0])
    return f"the state after step {step} is in {display_path(checkpoints[0])}. To go on:\n  {text}"
