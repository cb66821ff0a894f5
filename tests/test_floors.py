"""The house stands: a module imports only what stands below it, and each heavy library has its own floors."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STAIRS: tuple[set[str], ...] = (  # a step may import the steps above it in this list; neighbours do not see each other
    {"tinv.errors", "tinv.optional_deps", "tinv.heap", "tinv.models.model_cache"},
    # floor 0: words
    {
        "tinv.concept",
        "tinv.seeding",
        "tinv.runs.files",
        "tinv.runs.sweep_point",
        "tinv.runs.layout",
        "tinv.config.secrets",
        "tinv.templates",
    }
    | {"tinv.types"},
    {"tinv.token_parts", "tinv.slurm"},
    # floor 1: arithmetic and paper
    {
        "tinv.training.loggers.wandb_auth",
        "tinv.diffusion.process",
        "tinv.formats",
        "tinv.runs.image_grid",
        "tinv.hub",
        "tinv.runs.status",
        "tinv.runs.trial",
    },
    {"tinv.diffusion.loss", "tinv.diffusion.timestep_samplers"},
    # floor 2: parts
    {"tinv.data", "tinv.embeddings", "tinv.evaluation.metrics", "tinv.models", "tinv.optim"},
    {"tinv.regularizer"},
    # a side wing over floor 2
    {"tinv.toybox"},
    # floor 3: the loop
    {"tinv.data.datamodule", "tinv.training.loggers.csv_logger"},
    {
        "tinv.training.loggers",
        "tinv.training.checkpoint_identity",
        "tinv.training.concept_task",
        "tinv.means",
        "tinv.training.microbatches",
        "tinv.provenance",
        "tinv.together",
    },
    {"tinv.training.initializer_search", "tinv.training.module"},
    {"tinv.training.callbacks", "tinv.publish"},
    # floor 4: the door
    {"tinv.config"},
    {"tinv.rehearsal"},
    {"tinv.training.preflight"},
    {
        "tinv.inference.convert",
        "tinv.training.loggers.wandb_workspace",
        "tinv.inference.generate",
        "tinv.inference.inspect",
        "tinv.training.prefetch",
        "tinv.training.preview",
    }
    | {"tinv.inference.load_pipeline", "tinv.training.run", "tinv.sweeps"},
    {"tinv.evaluation"},
    {"tinv.evaluation.dreambench"},
    {"tinv.from_diffusers", "tinv.report", "tinv.sweeps.progress_table"},
    {"tinv.training.main"},
    {"tinv.cli"},
    # a side wing over all of it
    {"tinv.toybox.toybench"},
)
STEP = {home: step for step, homes in enumerate(STAIRS) for home in homes}

PARTS = {"tinv.data", "tinv.embeddings", "tinv.evaluation.metrics", "tinv.models", "tinv.regularizer", "tinv.toybox"}
LOOP = {
    "tinv.training.loggers",
    "tinv.training.callbacks",
    "tinv.data.datamodule",
    "tinv.training.microbatches",
    "tinv.training.module",
    "tinv.together",
}
LIBRARIES = {  # library -> the only places that may import it
    "torch": {
        "tinv.seeding",
        "tinv.means",
        "tinv.token_parts",
        "tinv.inference.load_pipeline",
        "tinv.types",
        "tinv.diffusion.process",
        "tinv.formats",
        "tinv.diffusion.loss",
        *PARTS,
        *LOOP,
    }
    | {"tinv.diffusion.timestep_samplers"}
    | {
        "tinv.inference.generate",
        "tinv.inference.inspect",
        "tinv.optim",
        "tinv.training.preview",
        "tinv.rehearsal",
        "tinv.training.run",
        "tinv.sweeps",
    }
    | {"tinv.toybox.toybench"},
    "safetensors": {"tinv.formats", "tinv.models", "tinv.toybox"},
    "PIL": {
        "tinv.evaluation",
        "tinv.formats",
        "tinv.runs.image_grid",
        "tinv.inference.generate",
        "tinv.training.preview",
        "tinv.cli",
        "tinv.publish",
        "tinv.report",
        "tinv.toybox.toybench",
        *PARTS,
        *LOOP,
    },
    "diffusers": {"tinv.models", "tinv.toybox"},
    "transformers": {"tinv.models", "tinv.evaluation.metrics", "tinv.toybox"},
    "lightning": {*LOOP, "tinv.training.loggers.csv_logger", "tinv.rehearsal", "tinv.training.run"},
    "huggingface_hub": {"tinv.hub", "tinv.publish"},
    "hydra": {"tinv.config", "tinv.sweeps", "tinv.training.main", "tinv.from_diffusers"},
    "omegaconf": {
        "tinv.publish",
        "tinv.training.prefetch",
        "tinv.config",
        "tinv.sweeps",
        "tinv.from_diffusers",
        "tinv.training.main",
        "tinv.rehearsal",
        "tinv.training.preflight",
        "tinv.training.run",
    },
    "wandb": {"tinv.training.loggers", "tinv.training.loggers.wandb_auth"},
    "wandb_workspaces": {"tinv.training.loggers.wandb_workspace"},
    "tensorboard": set(),
    "xformers": set(),
    "bitsandbytes": {"tinv.optim"},
    "optuna": {"tinv.runs.trial", "tinv.sweeps"},
    "matplotlib": {"tinv.sweeps"},
    "jinja2": {"tinv.report"},
}
WINGS = {"tinv.toybox.toybench", "tinv.toybox"}  # nothing else may need them
FILES = sorted((ROOT / "tinv").rglob("*.py"))
IDS = [path.relative_to(ROOT).as_posix() for path in FILES]


def home_of(module: str) -> str | None:
    """The part of the house a dotted name belongs to, or None for anything outside it."""
    return next((home for home in STEP if module == home or module.startswith(f"{home}.")), None)


def imports_of(path: Path) -> Iterator[str]:
    """Every import in a file, as dotted names; those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: absolute imports only"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_imports_go_down(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if module == "tinv":
        assert not list(imports_of(path)), "the package itself imports nothing, so that any part of it can be had alone"
        return
    here = home_of(module)
    assert here, f"{module} has no place in the house: add it to STAIRS"
    for name in imports_of(path):
        library = name.partition(".")[0]
        assert here in LIBRARIES.get(library, {here}), f"{here} must not import {library}"
        there = home_of(name)
        assert there in (None, here) or STEP[there] < STEP[here], f"{here} must not import {name}: it is not below"
        assert there not in WINGS or here in WINGS, f"{here} must not import {name}: a wing may be left out"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_text_encoders_are_reached_through_their_public_methods(path):
    """transformers 5.6 took `CLIPTextModel.text_model` away and many trainers with it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr == "text_model":
            raise AssertionError(f"{path.name}:{node.lineno}: use get_input_embeddings() and the like")


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_files_hold_one_idea_each(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 320, "split it"
