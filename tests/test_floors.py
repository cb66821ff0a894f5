"""The layout of docs/architecture.md: imports only point down, no circles, and heavy libraries stay in their rooms."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS: tuple[set[str], ...] = (  # a room may import rooms of the floors before its own, and no other
    {"errors", "optional_deps", "seeding", "types"},
    {"concept", "config", "diffusion", "optim", "silence"},
    {"from_diffusers", "runs", "token_parts"},
    {"hub"},
    {"data", "formats"},
    {"embeddings", "models", "publish"},
    {"inference", "sweeps"},
    {"evaluation", "report"},
    {"training"},
    {"ui"},
    {"cli"},
    {"toybox"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
LIBRARIES = {  # library -> the rooms that may import it
    "torch": {"data", "diffusion", "embeddings", "evaluation", "formats", "inference", "models", "optim", "seeding"}
    | {"token_parts", "toybox", "training", "types"},
    "safetensors": {"formats", "inference", "models", "toybox"},
    "PIL": {
        "cli",
        "data",
        "evaluation",
        "formats",
        "inference",
        "models",
        "publish",
        "report",
        "runs",
        "toybox",
        "training",
        "ui",
    },
    "diffusers": {"diffusion", "models", "silence", "toybox"},
    "transformers": {"evaluation", "models", "silence", "toybox"},
    "lightning": {"data", "training"},
    "huggingface_hub": {"hub", "publish"},
    "hydra": {"config", "from_diffusers", "sweeps", "training"},
    "omegaconf": {"config", "from_diffusers", "publish", "sweeps", "training", "ui"},
    "wandb": {"training"},
    "wandb_workspaces": {"training"},
    "bitsandbytes": {"optim"},
    "optuna": {"runs", "sweeps"},
    "matplotlib": {"sweeps"},
    "jinja2": {"report"},
    "platformdirs": {"data"},
    "starlette": {"ui"},
    "uvicorn": {"ui"},
    "tensorboard": set(),
    "xformers": set(),
}
COUNTS_GPUS = ("tinv.sweeps.devices", "torch")
"""Imported inside a function, only when the launcher counts the GPUs."""
LOADED_LATER = {"tinv.cli.__main__", "tinv.cli.evaluate_wandb"}
"""Not imported when the parser is built."""
WITHOUT_TORCH = ("cli", "config", "from_diffusers", "hub", "runs", "sweeps", "ui")
FILES = sorted((ROOT / "tinv").rglob("*.py"))
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}


def room_of(module: str) -> str:
    """`models` for `tinv.models.vae`; empty for `tinv` itself and for other packages."""
    parts = module.split(".")
    return parts[1] if parts[0] == "tinv" and len(parts) > 1 else ""


def imports_of(path: Path) -> Iterator[str]:
    """Every import of a file as a dotted name, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: absolute imports only"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_files(path: Path) -> set[str]:
    """The modules of tinv that a file imports."""
    names = [name for name in imports_of(path) if name.startswith("tinv.")]
    return {name if name in MODULES else name.rpartition(".")[0] for name in names} - {"tinv"}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    names = list(imports_of(MODULES[module]))
    room = room_of(module)
    if not room:
        libraries = {name.partition(".")[0] for name in names}
        assert libraries <= {"importlib", "typing"}, (
            "the package imports nothing, so that any part can be imported alone"
        )
        return
    assert room in FLOOR, f"{room} has no floor: read docs/architecture.md, then add it to FLOORS"
    for name in names:
        library, other = name.partition(".")[0], room_of(name)
        is_allowed = room in LIBRARIES.get(library, {room}) or (module, library) == COUNTS_GPUS
        assert is_allowed, f"{module} must not import {library}"
        if other in FLOOR:
            assert other == room or FLOOR[other] < FLOOR[room], (
                f"{module} must not import {name}, which is not below it"
            )


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_torch_is_not_loaded_with(room):
    modules = [module for module in MODULES if room_of(module) == room and module not in LOADED_LATER]
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_no_files_import_each_other_in_a_circle():
    graph = {module: imported_files(path) - {module} for module, path in MODULES.items()}
    while leaves := {module for module, needs in graph.items() if not needs & graph.keys()}:
        graph = {module: needs for module, needs in graph.items() if module not in leaves}
    in_circles = dict(graph)
    while roots := in_circles.keys() - set().union(*in_circles.values()):
        in_circles = {module: needs for module, needs in in_circles.items() if module not in roots}
    assert not in_circles, {module: sorted(needs & in_circles.keys()) for module, needs in in_circles.items()}


def test_the_layout_stays_small():
    loose = [path for path in (ROOT / "tinv").glob("*.py") if path.name != "__init__.py"]
    folders = [path for path in (ROOT / "tinv").iterdir() if any(path.glob("*.py"))]
    arrows = {
        (room_of(module), room_of(name))
        for module, path in MODULES.items()
        for name in imports_of(path)
        if room_of(name) in FLOOR and room_of(name) != room_of(module)
    }
    assert (len(loose) <= 7, len(folders) <= 20, len(FLOORS) <= 12) == (True, True, True), (loose, folders)
    assert len(arrows) <= 140, f"{len(arrows)} pairs of rooms import each other's files"


@pytest.mark.parametrize("path", FILES, ids=MODULES)
def test_text_encoders_are_reached_through_their_public_methods(path):
    """transformers 5.6 removed `CLIPTextModel.text_model`, which broke many trainers."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr == "text_model":
            raise AssertionError(f"{path.name}:{node.lineno}: use get_input_embeddings() and other public methods")


@pytest.mark.parametrize("path", FILES, ids=MODULES)
def test_files_hold_one_idea_each(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 320, "split it"
