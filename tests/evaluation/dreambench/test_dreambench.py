"""The DreamBench dataset is read, its protocol is followed, and a started benchmark is resumed."""

import json
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.test_cli import make_run
from tinv.cli import main
from tinv.errors import UserError
from tinv.evaluation.dreambench.dataset import PUBLISHED, read_subjects
from tinv.evaluation.dreambench.dreambench import CONFIG, evaluate_subjects, plan_command
from tinv.evaluation.dreambench.subject_runs import GROUP
from tinv.evaluation.dreambench.summary import format_summary
from tinv.models import LatentDiffusion

CLASSES = {"backpack_dog": "backpack", "bear_plushie": "stuffed animal", "dog2": "dog"}
PROMPTS = """
Prompts

Object Prompts

prompt_list = [
'a {0} {1} in the jungle'.format(unique_token, class_token),
'a red {0} {1}'.format(unique_token, class_token)
]

Live Subject Prompts

prompt_list = [
'a {0} {1} wearing a red hat'.format(unique_token, class_token)
]
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small dataset of the layout."""
    folder = tmp_path / "dataset"
    for i, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for j in range(2):
            Image.new("RGB", (40, 40), (80 * i, 60 * j, 90)).save(folder / name / f"{j:02d}.jpg")
    lines = "\n".join(f"{name},{noun}" for name, noun in CLASSES.items())
    (folder / "prompts_and_classes.txt").write_text(f"Classes\n\nsubject_name,class\n{lines}\n{PROMPTS}")
    return folder


def test_subjects_have_a_class_noun_and_the_prompts_of_their_kind(data: Path) -> None:
    subjects = {subject.name: subject for subject in read_subjects(data)}
    assert {name: subject.class_noun for name, subject in subjects.items()} == CLASSES
    assert subjects["backpack_dog"].prompts == ["a {} in the jungle", "a red {}"]
    assert subjects["dog2"].prompts == ["a {} wearing a red hat"]
    assert subjects["bear_plushie"].placeholder_token == "<bear-plushie>"


def test_a_dataset_without_prompts_has_the_published_ones(data: Path) -> None:
    file = data / "prompts_and_classes.txt"
    file.write_text(file.read_text().partition("Prompts")[0])
    subjects = {subject.name: subject for subject in read_subjects(data)}
    assert subjects["dog2"].prompts == PUBLISHED["live"]
    assert subjects["bear_plushie"].prompts == PUBLISHED["object"]


def test_the_published_lists_have_25_prompts_of_which_15_are_common() -> None:
    assert {kind: len(set(prompts)) for kind, prompts in PUBLISHED.items()} == {"object": 25, "live": 25}
    assert len(set(PUBLISHED["object"]) & set(PUBLISHED["live"])) == 15
    assert all(prompt.count("{}") == 1 for prompts in PUBLISHED.values() for prompt in prompts)


def test_training_is_a_sweep_over_the_subjects_with_the_overrides(data: Path, tmp_path: Path) -> None:
    overrides = ["model=sd15", "hydra/launcher=slurm"]
    command = plan_command(data, tmp_path / "out", overrides, only=["dog2", "bear_plushie"])
    assert command[3:] == [
        f"--config-dir={tmp_path / 'out' / 'conf'}",
        "-m",
        "model=sd15",
        "hydra/launcher=slurm",
        f"paths.root_dir={tmp_path / 'out'}",
        "name=runs",
        "+subject=bear_plushie,dog2",
    ]


def test_the_latest_sweep_is_resumed(data: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "out" / "runs" / "2026-11-22_20-00-00"
    sweep.mkdir(parents=True)
    (sweep / "plan.json").write_text("{}")
    assert plan_command(data, tmp_path / "out", ["model=sd15"])[-1] == f"sweep.resume={sweep}"


def test_scores_are_averaged_per_subject_and_then_over_subjects(
    data: Path, tmp_path: Path, model: LatentDiffusion
) -> None:
    """A subject with two seeds counts once."""
    folder = tmp_path / "sweep"
    for point, (name, seed) in enumerate([("backpack_dog", 0), ("backpack_dog", 1), ("dog2", 0)]):
        make_run(folder / str(point), model, token=f"<{name.replace('_', '-')}>", seed=seed)
    config = replace(
        CONFIG, seeds=(0, 1), num_inference_steps=1, guidance_scale=2.0, feature_extractors="toybox", device="cpu"
    )
    summary = evaluate_subjects(folder, tmp_path / "out", read_subjects(data), config)
    own = [json.loads((folder / str(i) / "evaluation.json").read_text())["scores"]["clip_t"] for i in range(3)]
    (group,) = summary["groups"]
    assert group["subjects"]["backpack_dog"]["scores"]["clip_t"] == pytest.approx((own[0] + own[1]) / 2, abs=1e-5)
    assert group["scores"]["clip_t"] == pytest.approx(((own[0] + own[1]) / 2 + own[2]) / 2, abs=1e-5)
    assert group["count"]["clip_t"] == 2
    assert group["missing"] == ["bear_plushie"]
    assert summary["protocol"]["samples"] == (2 + 2 + 1) * 2
    first = json.loads((folder / "2" / "evaluation.json").read_text())
    assert (first["class_noun"], first["prompts"][0]["caption"]) == ("dog", "a dog wearing a red hat")
    assert first["images"] == ["00.jpg", "01.jpg"]
    assert (first["sampler"], first["sampling"]["sampler"]) == ("DDIM (eta 0)", "ddim")
    assert summary["protocol"]["sampler"] == "ddim"
    assert "missing: bear_plushie" in format_summary(summary)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: (data / "prompts_and_classes.txt").unlink(), "has no prompts_and_classes.txt"),
        (
            lambda data: (data / "dog2" / "00.jpg").rename(data / "a.jpg") and (data / "dog2" / "01.jpg").unlink(),
            "of dog2",
        ),
        (lambda data: (data / "dog2").rename(data / "dog9"), "no class for dog9"),
    ],
)
def test_another_layout_is_refused(data: Path, spoil, reason: str) -> None:
    spoil(data)
    with pytest.raises(UserError, match=reason):
        read_subjects(data)


def test_unknown_subjects_are_named(data: Path) -> None:
    with pytest.raises(
        UserError, match=r"--subjects=cat: .* has no such subject\. It has backpack_dog, bear_plushie, dog2"
    ):
        read_subjects(data, ["dog2", "cat"])


def test_the_training_command_can_be_printed(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["benchmark", "dreambench", "--data", str(data), "--out", str(out), "--print", "model=sd15"]) == 0
    command = shlex.split(capsys.readouterr().out)
    assert command[1:3] == ["-m", "tinv.training.main"]
    assert "model=sd15" in command
    assert not (out / "runs").exists()


def test_the_subjects_settings_compose_with_any_experiment(data: Path, tmp_path: Path) -> None:
    """The plan of the sweep in a process of its own, without a run."""
    out = tmp_path / "out"
    command = plan_command(data, out, ["model=toybox", "sweep.dry_run=true"])
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in CLASSES)
    assert "mean" in (out / "conf" / GROUP / "bear_plushie.yaml").read_text()


@pytest.mark.slow
def test_a_benchmark_trains_draws_and_measures_once(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["benchmark", "dreambench", f"--data={data}", f"--out={tmp_path / 'out'}", "--seeds=0", "--device=cpu"]
    command += ["--num-inference-steps=2", "--guidance-scale=2", "--subjects=dog2,backpack_dog"]
    command += ["model=toybox", "trainer=cpu", "trainer.max_steps=3", "logger=none", "callbacks=[export]"]
    command += ["data.batch_size=1", "data.resolution=64", "data.val_draws=2", "monitor=null"]
    assert main(command) == 0
    summary = json.loads((tmp_path / "out" / "dreambench.json").read_text())
    (group,) = summary["groups"]
    assert set(group["subjects"]) == {"backpack_dog", "dog2"}
    assert group["missing"] == []
    assert summary["feature_extractors"]["name"] == "toybox"
    assert summary["protocol"]["sampler"] == "ddim"
    mtimes = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    capfd.readouterr()
    assert main(command) == 0
    assert "(unchanged)" in capfd.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")} == mtimes
