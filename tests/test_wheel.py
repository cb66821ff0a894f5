"""What pip installs works in an empty folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, as in site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("tinv-*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def door(installed: Path, place: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.argv = ['tinv-train', *{argv!r}]; from tinv.training.main import main; main()"
    env = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, "-c", code], cwd=place, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_an_installed_door_finds_its_groups_in_an_empty_folder(installed, tmp_path):
    said = door(installed, tmp_path)
    assert said.returncode == 1
    assert "tinv-train +experiment=cat_toy" in said.stderr


@pytest.mark.slow
def test_an_installed_door_takes_groups_of_ones_own(installed, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    text = "# @package _global_\ndefaults: [cat_toy, _self_]\nname: mine\n"
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text(text)
    shown = door(installed, tmp_path, "--config-dir", "mine", "+experiment=mine", "data.folder=imgs", "--cfg", "job")
    assert shown.returncode == 0, shown.stderr
    assert "name: mine" in shown.stdout
    assert "folder: imgs" in shown.stdout


@pytest.mark.slow
def test_the_wheel_holds_the_data_that_the_package_reads(installed):
    files = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    kept = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tinv").rglob("*") if path.is_file()}
    assert {path for path in kept if "__pycache__" not in path and not path.endswith(".pyc")} <= files
    assert "tinv/conf/experiment/cat_toy.yaml" in files
    assert {"tinv/py.typed", "tinv/data/templates/object.txt"} <= files
