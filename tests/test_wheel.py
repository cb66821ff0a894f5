"""The installed wheel works in an empty folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the content of the wheel, as in site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options], check=True, capture_output=True)
    (wheel,) = folder.glob("tinv-*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def run_main(installed: Path, folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.argv = ['tinv-train', *{argv!r}]; from tinv.training.main import main; main()"
    env = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_an_installed_tinv_finds_its_groups_in_an_empty_folder(installed, tmp_path):
    process = run_main(installed, tmp_path)
    assert process.returncode == 1
    assert "tinv-train +experiment=cat_toy" in process.stderr


@pytest.mark.slow
def test_an_installed_tinv_accepts_a_config_dir(installed, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    text = "# @package _global_\ndefaults: [cat_toy, _self_]\nname: mine\n"
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text(text)
    process = run_main(
        installed, tmp_path, "--config-dir", "mine", "+experiment=mine", "data.folder=imgs", "--cfg", "job"
    )
    assert process.returncode == 0, process.stderr
    assert "name: mine" in process.stdout
    assert "folder: imgs" in process.stdout


@pytest.mark.slow
def test_the_wheel_contains_the_data_files(installed):
    files = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tinv").rglob("*") if path.is_file()}
    assert {path for path in sources if "__pycache__" not in path and not path.endswith(".pyc")} <= files
    assert "tinv/conf/experiment/cat_toy.yaml" in files
    assert {"tinv/py.typed", "tinv/data/templates/object.txt"} <= files
