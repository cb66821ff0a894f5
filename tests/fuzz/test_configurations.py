"""Configuration files of a stranger: every location, dangerous call or path, and way to hide it. None has an effect."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from omegaconf import DictConfig

from tests.fuzz.conftest import CaseCounter
from tinv.config.validate import build, check

pytestmark = pytest.mark.slow
Run = Callable[..., SimpleNamespace]
Node = dict[str, Any]

LOCATIONS = (
    *("callbacks.x", "callbacks.samples", "callbacks.samples.prompts", "logger.x", "optimizer", "scheduler", "loss"),
    *("early_stopping", "keep", "timestep_sampler", "regularizer", "trainer.strategy", "trainer", "model", "data"),
    *("embedding", "concept", "hub", "module", "extra_concepts.y.data", "tags", "hydra.callbacks.x", "hydra.launcher"),
    *("hydra.sweeper", "hydra.launcher.options", "hydra.sweeper.params", "hydra.job_logging.handlers.x"),
    *("hydra.job_logging.formatters.simple", "hydra.hydra_logging.handlers.x", "hydra.hydra_logging.filters.x"),
    *("hydra.job.env_set", "hydra.help"),
)


class Pickle:
    """Its pickle makes the marker when it is loaded."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def dangerous_calls(marker: Path, pickle: Path) -> list[Node]:
    """Returns nodes that make the marker when they are built."""
    touch = ["touch", str(marker)]
    return [
        {"_target_": "tinv.sweeps.child_process.ChildProcess", "command": touch},
        {"_target_": "tinv.runs.files.write_text", "path": str(marker), "text": ""},
        {"_target_": "tinv.runs.slurm_job.run_slurm_command", "_args_": touch},
        {"_target_": "tinv.config.validate.build", "node": {"_target_": "os.mkdir", "path": str(marker)}},
        {"_target_": "lightning.pytorch.LightningModule.load_from_checkpoint", "checkpoint_path": str(pickle)}
        | {"weights_only": False},
        {"_target_": "lightning.pytorch.core.saving.pl_load", "path_or_url": str(pickle), "weights_only": False},
        {"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": str(marker)},
        {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": str(marker)},
        {"_target_": "torch.load", "f": str(pickle), "weights_only": False},
        {"_target_": "torch.hub.load", "repo_or_dir": str(marker.parent), "model": "x", "source": "local"},
        {"_target_": "shutil.copy", "src": str(pickle), "dst": str(marker)},
        {"_target_": "subprocess.run", "args": touch},
        {"_target_": "os.system", "command": " ".join(touch)},
        {"_target_": "os.mkdir", "path": str(marker)},
        {"_target_": "builtins.exec", "_args_": [f"open({str(marker)!r}, 'w')"]},
        {"_target_": "logging.FileHandler", "filename": str(marker)},
        {"()": "logging.FileHandler", "filename": str(marker)},
        {"class": "logging.handlers.RotatingFileHandler", "filename": str(marker)},
        {"class": "logging.FileHandler", "filename": str(marker)},
        {"_target_": "tinv.training.callbacks.Export.__init__.__globals__", "x": str(marker)},
    ]


def override_value(value: Any) -> str:
    """Returns a value in the grammar of overrides, which `oc.decode` reads."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {override_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(override_value, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else "'" + str(value).replace("'", "\\'") + "'"


def hidings(node: Node) -> list[tuple[str, Any, Node, dict[str, str]]]:
    """Returns ways to write a node: a name, what stands in its location, other keys of the file, the environment."""
    target = str(node.get("_target_", ""))
    first, _, last = target.rpartition(".")
    text = override_value(node)
    ways: list[tuple[str, Any, Node, dict[str, str]]] = [
        ("written out", node, {}, {}),
        ("in a list", [node], {}, {}),
        ("partial", {**node, "_partial_": True}, {}, {}),
        ("not recursive", {**node, "_recursive_": False}, {}, {}),
        ("converted", {**node, "_convert_": "object"}, {}, {}),
        ("argument of a listed target", {"_target_": "tinv.models.load", "pretrained": node}, {}, {}),
        ("positional", {"_target_": "lightning.pytorch.callbacks.Timer", "_args_": [node]}, {}, {}),
        ("reference", "${evil}", {"evil": node}, {}),
        ("reference into a group", "${callbacks.samples.evil}", {"callbacks": {"samples": {"evil": node}}}, {}),
        ("decoded", "${oc.create:${oc.decode:${oc.env:EVIL}}}", {}, {"EVIL": text}),
        ("decoded twice", "${oc.create:${oc.decode:${oc.decode:${oc.env:EVIL}}}}", {}, {"EVIL": override_value(text)}),
        ("chosen by time", "${evil.${now:%Y}}", {"evil": {f"{year}": node for year in range(2020, 2100)}}, {}),
    ]
    if target:
        ways += [
            ("target in the environment", {**node, "_target_": "${oc.env:EVIL}"}, {}, {"EVIL": target}),
            ("target in pieces", {**node, "_target_": "${oc.env:EVIL}." + last}, {}, {"EVIL": first}),
            ("target decoded", {**node, "_target_": "${oc.decode:${oc.env:EVIL}}"}, {}, {"EVIL": f'"{target}"'}),
        ]
    return ways


PATHS = (
    *("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir", "hydra.job.name", "name"),
    *("paths.root_dir", "paths.output_dir", "paths.cache_dir", "logger.csv.dir", "callbacks.export.dir"),
    *("callbacks.checkpoints.dir", "trainer.default_root_dir", "hydra.sweeper.storage", "resume", "sweep.resume"),
    *(
        "hydra.job_logging.handlers.file.filename",
        "hydra.hydra_logging.handlers.file.filename",
        "hydra.launcher.python",
    ),
)


def hidden_paths(path: Path) -> list[tuple[str, str, Node, dict[str, str]]]:
    """Returns ways to write a path outside of the working directory."""
    return [
        ("absolute", str(path), {}, {}),
        ("relative", f"../{path.name}", {}, {}),
        ("through a folder", f"outputs/../../{path.name}", {}, {}),
        ("through a link", f"link/{path.name}", {}, {}),
        ("environment", "${oc.env:EVIL}", {}, {"EVIL": str(path)}),
        ("decoded", "${oc.decode:${oc.env:EVIL}}", {}, {"EVIL": json.dumps(str(path))}),
        ("nested", "${oc.env:${oc.decode:${oc.env:NAME}}}", {}, {"EVIL": str(path), "NAME": '"EVIL"'}),
        ("reference", "${tags.0}", {"tags": [str(path)]}, {}),
        ("selected", "${oc.select:nowhere,${oc.env:EVIL}}", {}, {"EVIL": str(path)}),
    ]


@pytest.fixture
def stranger(tmp_path: Path, run_main: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SimpleNamespace]:
    """stranger(location, value, keys, env, *argv) -> the answer to a command with that file, in an empty folder."""
    work = tmp_path / "work"
    torch.save(Pickle(tmp_path / "marker"), tmp_path / "evil.ckpt")

    def run(location: str, value: Any, keys: Node, env: dict[str, str], *argv: str) -> SimpleNamespace:
        shutil.rmtree(work, ignore_errors=True)
        (work / "mine" / "experiment").mkdir(parents=True)
        (work / "link").symlink_to(tmp_path)
        monkeypatch.chdir(work)
        tree: Node = {"defaults": ["cat_toy", "_self_"], **keys}
        parts, node = location.split("."), tree
        for part in parts[:-1]:
            node = node.setdefault(part, {})
        node[parts[-1]] = value
        text = f"# @package _global_\n{yaml.safe_dump(tree, sort_keys=False)}"
        (work / "mine" / "experiment" / "x.yaml").write_text(text, encoding="utf-8")
        with pytest.MonkeyPatch.context() as patch:
            for name, content in env.items():
                patch.setenv(name, content)
            return run_main("--config-dir", "mine", "+experiment=x", *argv, train=build_everything)

    return run


def build_everything(cfg: DictConfig) -> None:
    """Builds what a run builds from its settings before a model loads."""
    nodes = [cfg.early_stopping, cfg.keep, *cfg.callbacks.values(), *cfg.logger.values(), cfg.trainer, cfg.optimizer]
    for node in check(cfg) and nodes:
        if node:
            build(node)


def check_without_effect(answer: SimpleNamespace, tmp_path: Path, *settings: str) -> None:
    """Asserts that a command was refused, wrote nothing outside of its folder, and named a setting."""
    left = {path.name for path in tmp_path.iterdir()} - {"work", "evil.ckpt"}
    for name in left:
        path = tmp_path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not left, "it had an effect"
    assert {path.name for path in Path.cwd().iterdir()} <= {"mine", "link", "outputs"}
    assert answer.code, "it was accepted"
    assert "Traceback" not in answer.err, answer.err
    assert any(setting in answer.err for setting in settings), answer.err


@pytest.mark.parametrize("location", LOCATIONS)
def test_no_file_runs_code(location: str, stranger: Run, tmp_path: Path, count_cases: CaseCounter) -> None:
    marker = tmp_path / "marker"
    ways = [way for node in dangerous_calls(marker, tmp_path / "evil.ckpt") for way in hidings(node)]
    argv = ["-m", "seed=1,2"] if location.startswith(("hydra.launcher", "hydra.sweeper")) else []
    for name, value, keys, env in count_cases.rng.sample(ways, min(len(ways), count_cases.scaled(12))):
        with count_cases.case((location, name, value, env)):
            answer = stranger(location, value, keys, env, *argv)
            check_without_effect(answer, tmp_path, location.partition(".")[0], "evil", "+experiment=x")


def test_no_file_chooses_where_files_are_written(stranger: Run, tmp_path: Path, count_cases: CaseCounter) -> None:
    ways = list(itertools.product(PATHS, hidden_paths(tmp_path / "marker")))
    for setting, (name, value, keys, env) in count_cases.rng.sample(ways, min(len(ways), count_cases.scaled(90))):
        argv = ["-m", "seed=1,2"] if setting.startswith(("hydra.sweep", "hydra.launcher", "sweep.")) else []
        with count_cases.case((setting, name)):
            answer = stranger(setting, value, keys, env, *argv)
            check_without_effect(answer, tmp_path, setting, "+experiment=x")


def test_no_plan_runs_code(run_main: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count_cases: CaseCounter):
    marker, sweep = tmp_path / "marker", tmp_path / "work" / "sweep"
    sweep.mkdir(parents=True)
    torch.save(Pickle(marker), tmp_path / "evil.ckpt")
    commands: list[Any] = [
        *(
            f"+{location}={text}"
            for location in ("callbacks.x", "hydra.callbacks.x")
            for text in ("", "{_target_: os.mkdir}")
        ),
        f"+callbacks.x={{_target_: tinv.runs.files.write_text, path: {marker}, text: x}}",
        f"+hydra.callbacks.x={{_target_: shutil.copy, src: {tmp_path}/evil.ckpt, dst: {marker}}}",
        *(f"+{setting}={marker}" for setting in PATHS if not setting.startswith(("hydra.sweeper", "resume", "name"))),
        *(f"{setting}={marker}" for setting in ("hydra.sweep.dir", "paths.root_dir", "hydra.output_subdir")),
        *("--config-path=/", "--config-name=x", f"--experimental-rerun={tmp_path}/evil.ckpt", "-cp=/", "--info"),
        *(f"hydra.launcher.setup=[touch {marker}]", f"hydra.launcher={{setup: [touch {marker}]}}"),
        *("hydra.job.env_set.PATH=/x", "hydra.job.env_copy=[HOME]", "hydra.searchpath=[pkg://this]"),
        *(3, None, ["x"], {"a": 1}),
    ]
    for command in commands:
        with count_cases.case(command):
            monkeypatch.chdir(tmp_path / "work")
            plan = {"id": "x", "command": ["+experiment=cat_toy", "seed=1,2", command], "config_dir": None}
            (sweep / "plan.json").write_text(json.dumps({**plan, "settings": {}, "points": []}), encoding="utf-8")
            answer = run_main("sweep.resume=sweep", train=build_everything)
            assert answer.code and not marker.exists() and "Traceback" not in answer.err, answer.err
            assert str(command).lstrip("+").partition("=")[0] in answer.err or "sweep.resume=sweep" in answer.err
