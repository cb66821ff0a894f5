"""No secret is written or printed, wherever it enters: every kind of secret x every place x every way to get there."""

import os
import shutil
import string
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.conftest import ROOT
from tests.fuzz.conftest import CaseCounter
from tinv.config.secrets import hide
from tinv.from_diffusers.overrides import assign

pytestmark = pytest.mark.slow
BASE62 = string.ascii_letters + string.digits
FORMS = {  # name of a variable that does not betray it -> prefix and number of random characters
    "MINE": ("hf_", 34),
    "OPENAI": ("sk-proj-", 48),
    "GITHUB": ("ghp_", 36),
    "FINE": ("github_pat_", 60),
    "LAB": ("glpat-", 20),
    "SLACK": ("xoxb-123456789012-", 24),
    "GOOGLE": ("AIza", 35),
    "AMAZON": ("AKIA", 16),
}
NAMES = {  # variable -> number of random characters; recognized by its name only
    "OPENAI_API_KEY": 51,
    "AWS_SECRET_ACCESS_KEY": 40,
    "MY_TOKEN": 20,
    "CLIENT_SECRET": 12,
    "DB_PASSWORD": 9,
    "GCP_CREDENTIALS": 64,
}
SETTINGS = """name tags[] logger.wandb.notes logger.wandb.group logger.wandb.project logger.wandb.tags[] data.folder
    callbacks.samples.prompts[] callbacks.samples.negative_prompt model.pretrained model.revision hub.repo_id
    hub.message paths.root_dir paths.cache_dir concept.initializer_token resume monitor embedding.init
    hydra.job.name hydra.launcher.setup[] hydra.launcher.partition hydra.launcher.account +hydra.launcher.options.qos
    +hydra.job.env_set.X hydra.verbose hydra.run.dir trainer.max_steps seed +optimizer.unknown +unknown""".split()
WAYS = ("typed", "inside a word", "in a URL", "interpolated", "decoded", "in a file", "swept")


def make_secrets(rng: Random) -> dict[str, str]:
    """Returns a secret of each kind, by its environment variable."""
    upper = string.ascii_uppercase + string.digits
    secrets = {
        name: prefix + "".join(rng.choices(upper if name == "AMAZON" else BASE62, k=length - 2)) + "Z7"
        for name, (prefix, length) in FORMS.items()
    }
    return secrets | {name: "".join(rng.choices(BASE62 + "-_", k=size - 3)) + "aZ7" for name, size in NAMES.items()}


def make_arguments(setting: str, way: str, variable: str, secret: str, folder: Path) -> list[str]:
    """Returns the arguments of train.py with which a secret enters a setting."""
    key = setting.removesuffix("[]")
    text = {"inside a word": f"a {secret}, b", "in a URL": f"https://user:{secret}@example.org/x"}.get(way, secret)
    text = {"interpolated": f"${{oc.env:{variable}}}", "decoded": "${oc.env:${oc.env:POINTER}}"}.get(way, text)
    arguments = ["+experiment=cat_toy", "logger=wandb", "logger.wandb.mode=offline"]
    if "launcher" in key:
        arguments += ["hydra/launcher=slurm", "-m"]
    if way == "in a file":
        (folder / "experiment").mkdir(parents=True, exist_ok=True)
        path = key.lstrip("+").split(".")
        value = f"['{text}']" if setting.endswith("[]") else f"'{text}'"
        lines = [f"{'  ' * depth}{part}:" for depth, part in enumerate(path)]
        lines = ["# @package _global_", *lines[:-1], f"{lines[-1]} {value}"]
        (folder / "experiment" / "mine.yaml").write_text("\n".join(lines) + "\n")
        return ["--config-dir", str(folder), *arguments, "+experiment@_global_=mine"]
    value = assign(key, [text] if setting.endswith("[]") else text)
    if way in ("interpolated", "decoded"):
        value = f"{key}={[text]}" if setting.endswith("[]") else f"{key}='{text}'"
    if way == "swept":
        return [*dict.fromkeys([*arguments, "-m"]), f"{key}={assign('x', text)[2:]},b"]
    return [*arguments, value]


def read_all(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the names and the contents of all files, and the names of the folders."""
    for path in sorted(folder.rglob("*")):
        yield str(path.relative_to(folder)), path.read_bytes() if path.is_file() else b""


def assert_absent(secrets: list[str], output: str, folder: Path) -> None:
    """Checks that no secret is in the output, in a file, or in the name of one."""
    for secret in secrets:
        assert secret not in output, "printed"
        for name, content in read_all(folder):
            assert secret not in name, f"in the name {hide(name)}"
            assert secret.encode() not in content, f"written to {name}"


@pytest.fixture
def secrets(count_cases: CaseCounter, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Secrets of all kinds, in the environment."""
    secrets = make_secrets(count_cases.rng)
    for name, secret in secrets.items():
        monkeypatch.setenv(name, secret)
    return secrets


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_in_a_setting_is_neither_written_nor_printed(
    way: str,
    count_cases: CaseCounter,
    secrets: dict[str, str],
    run_main: Callable,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cases = [(setting, name) for setting in SETTINGS for name in secrets]
    for setting, name in count_cases.rng.sample(cases, min(len(cases), count_cases.scaled(35))):
        monkeypatch.setenv("POINTER", name)
        config_dir = tmp_path_factory.mktemp("config")
        with count_cases.case((setting, way, name)):
            output = run_main(*make_arguments(setting, way, name, secrets[name], config_dir))
            assert_absent([secrets[name]], output.out + output.err, tmp_path)
            assert output.code != 0, "accepted"
            assert "Traceback" not in output.err
        for path in tmp_path.iterdir():
            shutil.rmtree(path)


def test_a_secret_in_another_argument_is_neither_written_nor_printed(
    count_cases: CaseCounter, secrets: dict[str, str], run_main: Callable, tmp_path: Path
) -> None:
    for name, secret in secrets.items():
        for arguments in (
            ["--config-dir", f"/x/{secret}"],
            [f"--config-dir=/x/{secret}"],
            [f"hydra.job.env_copy=[{name}]"],
            ["-m", "seed=0,1", f"hydra.job.env_copy=[{name}]"],
            [f"--hub_token={secret}"],
            [f"--unknown={secret}"],
            [f"name={secret}", "--cfg=job"],
            [f"name=${{oc.env:{name}}}", "--cfg=job", "--resolve"],
            [f"tags=[${{oc.env:{name}}}]", "--config-name=config"],
            [f"sweep.resume=/x/{secret}"],
            [f"resume=/x/{secret}"],
        ):
            with count_cases.case((name, [hide(argument) for argument in arguments])):
                output = run_main("+experiment=cat_toy", *arguments)
                assert_absent([secret], output.out + output.err, tmp_path)
                assert output.code != 0, "accepted"
                assert "Traceback" not in output.err


def test_a_run_with_secrets_around_it_writes_none(
    count_cases: CaseCounter, secrets: dict[str, str], tmp_path: Path
) -> None:
    """In the environment, in captions and in the names of the images: W&B offline, TensorBoard, samples, export."""
    source = ROOT / "tinv" / "toybox" / "concepts" / "cat_toy"
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    out.mkdir()
    for number, secret in enumerate(list(secrets.values())[:3], start=1):
        shutil.copy(source / f"{number}.png", images / f"{secret}.png")
        (images / f"{secret}.txt").write_text(f"a {{}} with {secret}")
    command = [
        sys.executable,
        str(ROOT / "train.py"),
        "+experiment=cat_toy",
        "+debug=fast",
        "logger=[tensorboard,wandb]",
    ]
    command += ["logger.wandb.mode=offline", f"data.folder={images}", "paths.root_dir=runs", "paths.cache_dir=null"]
    process = subprocess.run(
        command, cwd=out, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert process.returncode == 0, hide(process.stderr[-2000:])
    assert list(out.rglob("*.wandb")) and list(out.rglob("events.out.*")) and list(out.rglob("run.json"))
    for name, secret in secrets.items():
        with count_cases.case(name):
            assert_absent([secret], process.stdout + process.stderr, out)


def test_ordinary_text_is_not_masked(count_cases: CaseCounter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documentation, the configuration and the sources, while variables named like secrets have ordinary values."""
    values = ("1", "true", "cat", "toy", "training", "embedding", "<cat-toy>", "20261130", "outputs", "val/loss")
    for number, value in enumerate(values):
        monkeypatch.setenv(f"SERVICE_{number}_KEY", value)
    files = [*ROOT.glob("docs/*.md"), *ROOT.glob("conf/**/*.yaml"), *ROOT.glob("tinv/**/*.py"), ROOT / "README.md"]
    for path in files:
        if path.name in ("secrets.py",):
            continue
        with count_cases.case(path.relative_to(ROOT)):
            text = path.read_text(encoding="utf-8")
            assert hide(text) == text
