"""Every command and every configuration file in README.md and docs/ works as it is printed."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from PIL import Image

from tests.conftest import ROOT
from tinv.cli import _parser
from tinv.config.compose import Groups
from tinv.config.override_errors import find_problems
from tinv.config.validate import build, check
from tinv.training.main import register

PAGES = sorted([ROOT / "README.md", ROOT / "sweep/README.md", *(ROOT / "docs").glob("*.md")])
FOLDERS = ("my_mug", "my_mug_masks", "my_mugs/10_worn", "my_pot", "my_toy", "cat")
RUNS_NOT_COMPOSED = ("sweep.resume=", "--config-dir mine", "--help", "--cfg", "--...", "-m optimizer.lr=1e-3,5e-3 ...")
"""Commands that continue a sweep, use groups of the reader (tested below as files), or stand for any command."""


def blocks(page: Path, language: str) -> list[str]:
    """The contents of a page's fenced blocks of a language."""
    text = page.read_text(encoding="utf-8")
    return [
        code for name, code in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL) if name == language
    ]


def commands(program: str) -> Iterator[pytest.param]:
    """Each command line that begins with a program, as its page's name and its words."""
    for page in PAGES:
        code = "\n".join(blocks(page, "bash") + blocks(page, ""))
        for line in code.replace("\\\n", " ").splitlines():
            if line.startswith(f"{program} ") and not any(text in line for text in RUNS_NOT_COMPOSED):
                words = shlex.split(line, comments=True)[len(program.split()) :]
                yield pytest.param(words, id=f"{page.stem}: {' '.join(words)[:70]}")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with the image folders of the documentation."""
    root = tmp_path_factory.mktemp("docs")
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
        Image.new("RGBA", (48, 32), (200, 0, 0, 255)).save(root / folder / "front.png")
        Image.new("RGB", (32, 48)).save(root / folder / "on a shelf.jpg")
        for name in ("front.txt", "on a shelf.txt"):
            (root / folder / name).write_text("{}, on a table\n")
    (root / "my_templates.txt").write_text("a photo of a {}, [caption]\n")
    (root / "sweep").symlink_to(ROOT / "sweep")
    register()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root
    HydraConfig.instance().cfg = None


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("words", [*commands("python train.py"), *commands("tinv preview"), *commands("tinv prefetch")])
def test_a_command_that_trains_has_no_problems(images, words):
    check_command(words, multirun="-m" in words or "--config-dir" in words)


@pytest.mark.parametrize("words", [*commands("tinv submit")])
def test_a_submitted_command_has_no_problems(images, words):
    check_command(["hydra/launcher=slurm", *words], multirun=True)


def check_command(words: list[str], *, multirun: bool) -> None:
    """Compose a command, and build what it trains on if it is one run."""
    config_dirs = [words.pop(i + 1) for i, word in enumerate(words) if word == "--config-dir"]
    overrides = [word for word in words if not word.startswith("-")]
    groups = Groups(str(ROOT / config_dirs[0]) if config_dirs else None)
    problems = find_problems(groups, overrides, multirun=multirun)
    assert not problems, [problem.text for problem in problems]
    if not multirun:
        cfg = check(groups.compose(overrides))
        for node in (cfg, *cfg.extra_concepts.values()):
            assert build(node.embedding)
            assert node.data.folder.startswith("hf://") or build(node.data).captions


@pytest.mark.parametrize("words", [*commands("tinv")])
def test_a_command_of_tinv_has_these_options(words):
    assert callable(_parser().parse_args(words).command)


@pytest.mark.parametrize("words", [*commands("python -m"), *commands("torchrun --nproc-per-node 2 -m")])
def test_a_module_on_the_command_line_exists(words):
    assert find_spec(words[0])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("text", "path"),
    [
        pytest.param(text, match[1], id=f"{page.stem}: {match[1]}")
        for page in PAGES
        for text in blocks(page, "yaml")
        if (match := re.search(r"^# mine/(\S+\.yaml)", text, re.MULTILINE))
    ],
)
def test_a_configuration_file_is_an_option_of_its_group(images, tmp_path, text, path):
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    choice = f"{'+' if file.parent.name == 'experiment' else ''}{file.parent.name}={file.stem}"
    overrides = [choice]
    if file.parent.name == "data":
        overrides += ["concept.placeholder_token=my-mug", "concept.initializer_token=mug"]
    cfg = check(Groups(str(tmp_path)).compose(overrides))
    assert all(build(node.data).captions for node in (cfg, *cfg.extra_concepts.values()))


@pytest.mark.parametrize(
    "words", [words for words in commands("python sweep/paired.py") if ".jsonl" in words.values[0][0]]
)
def test_a_table_in_the_documentation_is_made_from_the_saved_results(words):
    done = subprocess.run(
        [sys.executable, "sweep/paired.py", *words], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    if "methods" in words[0] or "held_out" in words[0]:
        assert done.stdout in (ROOT / "docs/methods.md").read_text(encoding="utf-8")


def test_every_link_in_the_documentation_leads_to_a_file():
    missing = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert not missing
