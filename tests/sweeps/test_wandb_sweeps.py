"""The W&B sweeps in sweep/wandb."""

import itertools
import os
from pathlib import Path

import pytest
import wandb
import yaml
from hydra.core.hydra_config import HydraConfig
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args
from wandb.wandb_agent import Agent

from tests import composing
from tests.sweeps.tiny_runs import TINY, write_tiny
from tests.training.loggers.reading import read_sessions
from tinv.config.override_errors import find_problems

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "sweep" / "wandb").glob("*.yaml"))
KEYS = {"program", "method", "metric", "parameters", "command", "early_terminate"}


def edges(parameter):
    """The values of a parameter: for an interval its ends and a value between."""
    if "values" in parameter:
        return parameter["values"]
    low, high = parameter["min"], parameter["max"]
    return [low, high, (low + high) // 2 if "int" in parameter["distribution"] else (low * high) ** 0.5]


def commands(sweep):
    """The command of the agent for every combination of the edges."""
    names, choices = zip(*((name, edges(parameter)) for name, parameter in sweep["parameters"].items()), strict=True)
    for values in itertools.product(*choices):
        arguments = create_sweep_command_args({"args": {n: {"value": v} for n, v in zip(names, values, strict=True)}})
        macros = {**arguments, "interpreter": ["python"], "program": [sweep["program"]]}
        words = [macros[c[2:-1]] if c.startswith("${") else [c] for c in create_sweep_command([*sweep["command"]])]
        yield dict(zip(names, values, strict=True)), [word for part in words for word in part]


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_command_composes_to_the_chosen_values(path):
    sweep, groups = yaml.safe_load(path.read_text()), composing.groups()
    assert sweep.keys() <= KEYS
    typed = list(commands(sweep))
    assert len(typed) >= 12
    for chosen, words in typed:
        assert words[:2] == ["python", "train.py"]
        assert not find_problems(groups, words[2:]), words
        cfg = groups.compose(words[2:])
        for name, value in chosen.items():
            if name in groups.names():
                assert HydraConfig.get().runtime.choices[name] == value
            else:
                node = cfg
                for key in name.split("."):
                    node = node[key]
                assert node == value
                assert type(node) is type(value)
        assert cfg.monitor == sweep["metric"]["name"]
        assert "WandbLogger" in cfg.logger.wandb._target_
        assert cfg.name == f"wandb_{path.stem}"
    HydraConfig.instance().cfg = None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_first_and_the_last_command_compose(path):
    typed = [words[2:] for _, words in commands(yaml.safe_load(path.read_text()))]
    assert not find_problems(composing.groups(), typed[0]) + find_problems(composing.groups(), typed[-1])


@pytest.mark.slow
def test_a_run_of_the_agent_logs_the_optimized_metric(tmp_path, monkeypatch):
    """Runs W&B's agent with a command as from its server."""
    wandb.teardown()
    write_tiny(tmp_path)
    settings = [*TINY, "data.batch_size=2", "data.val_draws=2", "trainer.max_steps=3", "trainer=cpu", "logger=wandb"]
    settings += [
        "trainer.val_check_interval=2",
        "callbacks.samples.num_inference_steps=1",
        "callbacks.samples.seeds=[0]",
    ]
    for name, value in {
        "WANDB_MODE": "offline",
        "WANDB_SWEEP_ID": "sweep123",
        "WANDB_RUN_ID": "replaced",
        "WANDB_SWEEP_PARAM_PATH": "replaced",
        "WANDB_DIR": str(tmp_path / "agent"),
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "agent").mkdir()
    monkeypatch.chdir(tmp_path)
    agent = object.__new__(Agent)
    command = ["${interpreter}", "${program}", *settings, "${args_no_hyphens}"]
    vars(agent).update(_in_jupyter=False, _function=None, _forward_signals=False, _run_processes={})
    agent._sweep_command = command
    monkeypatch.setenv("PATH", f"{Path(os.sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    args = {"optimizer.lr": {"value": 0.001}, "seed": {"value": 7}}
    agent._command_run({"run_id": "point1", "program": str(ROOT / "train.py"), "args": args})
    assert agent._run_processes["point1"].wait() == 0
    (run,) = (tmp_path / "outputs" / "untitled").iterdir()
    (session,) = read_sessions(run)
    assert (session.run.run_id, session.run.sweep_id, session.exit_code) == ("point1", "sweep123", 0)
    assert session.config["optimizer.lr"] == session.config["optimizer"]["lr"] == 0.001
    assert session.config["seed"] == 7
    assert isinstance(session.summary["val/loss"], float)
    assert session.run.project != "replaced"
