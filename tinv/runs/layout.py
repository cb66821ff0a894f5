"""The names of all files in a run folder and in a sweep folder. No other module spells them.

A run folder is `<paths.root_dir>/<name>/<time>`; a point of a sweep has `<time>/<number>` there.
"""

import re
from pathlib import Path

METRICS = "metrics.csv"
RUN_CARD = "run.json"
STATUS = "status.json"
PROGRESS = "progress.json"
TRIAL = "trial.json"
EVALUATION = "evaluation.json"
EVALUATION_SAMPLES = "evaluation"
"""Folder of the samples that `evaluation.json` was computed from."""
REPORT = "report.html"
LOG = "log.txt"
"""Output of a run that a launcher started as a process of its own."""
PACKED_LOG = "packed.log"
"""Output of the process that runs the points of a packed sweep, in the sweep's folder."""
WANDB_RUN_ID = "wandb_run_id"
HYDRA_CONFIG = ".hydra/config.yaml"
HYDRA_OVERRIDES = ".hydra/overrides.yaml"
HYDRA_RUNTIME = ".hydra/hydra.yaml"

CHECKPOINTS = "checkpoints"
CONCEPTS = "concepts"
SAMPLES = "samples"
EXPORTS = "exports"
"""Folder of the embeddings that were exported on request, by step."""
REQUESTS, ANSWERED = "requests", "answered"
"""Folder of the requests to a run, and the folder in it of those that were answered."""
EMBEDDING = "learned_embeds.safetensors"
TOKEN_IDENTIFIER = "token_identifier.txt"
CONCEPT_TYPE = "type_of_concept.txt"
HUB_STAGING = "hub"
"""Folder of the files that are uploaded to the Hub."""

LOCK = ".lock"
"""Locked by the process that uses the folder of a run or of a sweep."""

PLAN = "plan.json"
SWEEP_RESULTS = "sweep.json"
SWEEP_TABLE = "sweep.csv"
QUEUE, QUEUE_FILE, QUEUE_LOGS = ".queue", "queue.json", "logs"
"""Folder of the queue below `paths.root_dir`, its file, and the folder in it of the outputs of its jobs."""
GIT_STATE = "git.json"
"""Commit of a code snapshot, beside the copied code."""

RUN_FILES = (RUN_CARD, STATUS, METRICS)
"""A folder with one of these is a run folder."""

_CHECKPOINT = re.compile(r"step_(\d{1,12})\.ckpt")
_SAMPLE_SHEET = re.compile(r"step_(\d{1,12})\.png")
_REQUESTED_SHEET = re.compile(r"step_(\d{1,12})_requested_(\d{1,6})\.png")
_STEP_EMBEDDING = re.compile(r"learned_embeds(?:-neg)?(?:_[2-9])?-steps-(\d{1,12})\.safetensors")
_EMBEDDING_SUFFIXES = (".safetensors", ".pt", ".bin")


def concept_dir(run_dir: Path | str, concept: str) -> Path:
    """Returns the folder of a concept: the run folder itself for an unnamed concept, else `concepts/<concept>`."""
    return Path(run_dir) / CONCEPTS / concept if concept else Path(run_dir)


def concept_dirs(run_dir: Path | str) -> list[Path]:
    """Returns the folders of all concepts of a run, by name; the run folder itself where it has a single concept."""
    return sorted(path for path in (Path(run_dir) / CONCEPTS).glob("*") if path.is_dir()) or [Path(run_dir)]


def checkpoint_path(run_dir: Path | str, step: int) -> Path:
    """Returns the path of the checkpoint of an optimizer step."""
    return Path(run_dir) / CHECKPOINTS / f"step_{step:06d}.ckpt"


def checkpoint_step(path: Path | str) -> int:
    """Returns the optimizer step in the name of a checkpoint file, -1 for any other name."""
    match = _CHECKPOINT.fullmatch(Path(path).name)
    return int(match[1]) if match else -1


def list_checkpoints(run_dir: Path | str) -> list[Path]:
    """Returns the checkpoints of a run, newest first."""
    paths = [path for path in (Path(run_dir) / CHECKPOINTS).glob("step_*.ckpt") if checkpoint_step(path) >= 0]
    return sorted(paths, key=checkpoint_step, reverse=True)


def samples_path(run_dir: Path | str, step: int, concept: str = "") -> Path:
    """Returns the path of the sheet of samples that a concept has at an optimizer step."""
    return concept_dir(run_dir, concept) / SAMPLES / f"step_{step:06d}.png"


def list_samples(concept_folder: Path | str) -> dict[int, Path]:
    """Returns the sheets of samples in the folder of a concept, by optimizer step in ascending order."""
    matches = [(_SAMPLE_SHEET.fullmatch(path.name), path) for path in (Path(concept_folder) / SAMPLES).glob("*.png")]
    return dict(sorted((int(match[1]), path) for match, path in matches if match))


def requested_samples_path(run_dir: Path | str, step: int, number: int) -> Path:
    """Returns the path of a sheet of samples that was drawn on request at an optimizer step; numbers begin at 1."""
    return Path(run_dir) / SAMPLES / f"step_{step:06d}_requested_{number}.png"


def list_requested_samples(run_dir: Path | str) -> dict[int, list[Path]]:
    """Returns the sheets of samples that were drawn on request, by optimizer step in ascending order."""
    paths: dict[int, dict[int, Path]] = {}
    for path in (Path(run_dir) / SAMPLES).glob("*.png"):
        if match := _REQUESTED_SHEET.fullmatch(path.name):
            paths.setdefault(int(match[1]), {})[int(match[2])] = path
    return {step: [path for _, path in sorted(numbered.items())] for step, numbered in sorted(paths.items())}


def export_dir(concept_folder: Path | str, step: int) -> Path:
    """Returns the folder of the embeddings that were exported on request at an optimizer step."""
    return Path(concept_folder) / EXPORTS / f"step_{step:06d}"


def step_embedding_path(concept_folder: Path | str, step: int) -> Path:
    """Returns the path of the embedding that is written during training, at an optimizer step."""
    return Path(concept_folder) / f"learned_embeds-steps-{step}.safetensors"


def list_step_embeddings(concept_folder: Path | str) -> dict[int, list[Path]]:
    """Returns the embeddings written during training, by step in ascending order.

    An embedding has further files where the model has several text encoders or where it has negative vectors.
    """
    embeddings: dict[int, list[Path]] = {}
    for path in sorted(Path(concept_folder).glob("*.safetensors")):
        if match := _STEP_EMBEDDING.fullmatch(path.name):
            embeddings.setdefault(int(match[1]), []).append(path)
    return dict(sorted(embeddings.items()))


def list_embeddings(concept_folder: Path | str) -> list[Path]:
    """Returns the files of the final embedding in the folder of a concept, in all formats."""
    paths = sorted(path for path in Path(concept_folder).glob("*") if path.suffix in _EMBEDDING_SUFFIXES)
    return [path for path in paths if not _STEP_EMBEDDING.fullmatch(path.name)]


def list_sweeps(folder: Path | str) -> list[Path]:
    """Returns the sweep folders below `<paths.root_dir>/<name>`, oldest first."""
    return sorted(path.parent for path in Path(folder).glob(f"*/{PLAN}"))
