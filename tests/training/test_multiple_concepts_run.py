"""A run of two concepts from the settings to the files, and every command that reads its folder."""

import csv
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from diffusers import StableDiffusionPipeline
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file

from tests.composing import composed, groups
from tests.hub.conftest import hub
from tests.hub.standin import TOKEN, Stored
from tests.models.published import published, save
from tests.tiny import tiny_images, tiny_pipeline
from tinv import formats
from tinv.cli import main
from tinv.config.override_errors import find_problems
from tinv.config.validate import ConfigError
from tinv.errors import UserError
from tinv.publish import Publisher
from tinv.training.prefetch import prefetch
from tinv.training.preflight import preflight
from tinv.training.run import train

__all__ = ["hub"]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def overrides_for(folder: Path) -> list[str]:
    prompts = "callbacks.samples.prompts=['a {}','a {} and a my-dog']"
    settings = f"""name=pair model=local model.pretrained={folder}/model data.folder={folder}/cats
    concept.placeholder_token=my-cat concept.initializer_token=cat data.batch_size=1 data.val_draws=2
    +extra_concept@extra_concepts.dog=style extra_concepts.dog.data.folder={folder}/dogs
    extra_concepts.dog.concept.placeholder_token=my-dog extra_concepts.dog.concept.initializer_token=dog
    extra_concepts.dog.embedding.num_vectors=2 extra_concepts.dog.lr=1e-3
    trainer.max_steps=2 trainer.accelerator=cpu trainer.val_check_interval=2 trainer.log_every_n_steps=1
    callbacks.samples.num_inference_steps=1 callbacks.samples.seeds=[0]
    callbacks.export.every_n_steps=1 callbacks.export.formats=[a1111,pipeline]"""
    return [*settings.split(), prompts]


def compose(folder: Path, *overrides: str) -> Any:
    return composed(*overrides_for(folder), *overrides, output_dir=str(folder / "run"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has a model, and two folders of images."""
    folder = tmp_path_factory.mktemp("pair")
    tiny_pipeline(folder / "model")
    tiny_images(folder / "cats")
    tiny_images(folder / "dogs", count=2)
    return folder


@pytest.fixture(scope="module")
def finished(folder: Path) -> SimpleNamespace:
    """The folder of a finished run, with the files that Hydra writes, and its result."""
    cfg = compose(folder)
    run = folder / "run"
    result = train(cfg)
    (run / ".hydra").mkdir()
    OmegaConf.save(cfg, run / ".hydra" / "config.yaml")
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides_for(folder)))
    (run / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": {"cwd": str(folder)}}}))
    return SimpleNamespace(folder=run, result=result)


def test_each_concept_has_the_files_of_a_run_of_one_concept(finished):
    own = {f"learned_embeds{step}.safetensors" for step in ("", "-steps-1", "-steps-2")}
    own |= {"token_identifier.txt", "type_of_concept.txt", "samples"}
    folders = {name: finished.folder / "concepts" / name for name in ("my-cat", "my-dog")}
    for name, folder in folders.items():
        assert {path.name for path in folder.iterdir()} == own | {f"{name}.pt"}
        assert (folder / "token_identifier.txt").read_text() == f"{name}\n"
        assert {path.name for path in (folder / "samples").iterdir()} == {"step_000000.png", "step_000002.png"}
        for path in (folder, folder / f"{name}.pt"):
            assert formats.read(path, token=name).placeholder_token == name
    assert [(folder / "type_of_concept.txt").read_text() for folder in folders.values()] == ["object\n", "style\n"]
    assert load_file(folders["my-dog"] / "learned_embeds.safetensors")["my-dog"].shape == (2, 32)
    top = {path.name for path in finished.folder.iterdir()}
    assert {"concepts", "pipeline", "checkpoints", "run.json", "metrics.csv"} <= top
    assert not own & top


def test_exported_pipeline_has_all_tokens(finished):
    pipeline = StableDiffusionPipeline.from_pretrained(finished.folder / "pipeline", safety_checker=None)
    ids = pipeline.tokenizer.convert_tokens_to_ids(["my-cat", "my-dog", "my-dog_1"])
    learned = [embedding.vectors["clip_l"] for embedding in formats.read_all(finished.folder)]
    assert torch.equal(pipeline.text_encoder.get_input_embeddings().weight[ids], torch.cat(learned))


def test_metrics_and_run_card_name_each_concept(finished):
    lines = list(csv.DictReader((finished.folder / "metrics.csv").open()))
    last = {name: text for line in lines for name, text in line.items() if text}
    for name in ("train/loss", "train/lr", "val/loss", "embedding/norm", "samples/black"):
        assert {f"{name}/my-cat", f"{name}/my-dog"} <= last.keys()
    assert [float(last[f"train/lr/{name}"]) for name in ("my-cat", "my-dog")] == pytest.approx([5e-3, 1e-3])
    assert finished.result == float(last["val/loss"])
    card = json.loads((finished.folder / "run.json").read_text())
    assert card["concept"]["placeholder_token"] == "my-cat"
    (other,) = card["extra_concepts"]
    assert other["concept"] == {
        "placeholder_token": "my-dog",
        "initializer_token": "dog",
        "kind": "style",
        "num_vectors": {"clip_l": 2},
    }
    assert (other["learning_rate"], other["images"]) == (1e-3, ["0.png", "1.png"])
    assert card["result"]["embedding_stats"]["nearest/my-dog"].keys() == {"my-dog", "my-dog_1"}


def test_run_folder_stands_for_all_its_embeddings(finished, tmp_path, capsys):
    assert [embedding.placeholder_token for embedding in formats.read_all(finished.folder)] == ["my-cat", "my-dog"]
    with pytest.raises(UserError, match=r"concepts/my-cat .*concepts/my-dog"):
        formats.read(finished.folder)
    assert main(["inspect", str(finished.folder)]) == 0
    assert re.findall(r" (my-\w+)$", capsys.readouterr().out, flags=re.MULTILINE) == ["my-cat", "my-dog"]
    assert main(["convert", str(finished.folder), str(tmp_path / "files"), "--to", "a1111"]) == 0
    assert {path.name for path in (tmp_path / "files").iterdir()} == {"my-cat.pt", "my-dog.pt"}


def test_prompts_refer_to_tokens_by_order_number_or_name(finished, tmp_path, capsys):
    command = ["generate", "--embedding", str(finished.folder), "--num-inference-steps", "1", "--device", "cpu"]
    prompts = ["a {} and a {}", "a {0} and a {1}", "a {my-cat} and a {my-dog}", "a {my-dog} and a {my-cat}"]
    samples = []
    for number, prompt in enumerate(prompts):
        assert main([*command, prompt, "--out", str(tmp_path / f"{number}.png")]) == 0
        samples.append(Image.open(tmp_path / f"{number}.png").tobytes())
    assert samples[0] == samples[1] == samples[2] != samples[3]
    assert main([*command, "a {dog}"]) == 1
    assert "{my-cat}, {my-dog}" in capsys.readouterr().err


def test_preview_shows_every_concept(folder, tmp_path, capsys):
    assert main(["preview", *overrides_for(folder), "--samples", "1", "--out", str(tmp_path / "sheet.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [*(f"my-cat {number}.png" for number in range(3)), "my-dog 0.png", "my-dog 1.png"]
    assert [line.partition(":")[0] for line in lines[:-1]] == names
    single = [*overrides_for(folder), "~extra_concepts.dog", "--samples", "1", "--out", str(tmp_path / "single.png")]
    assert main(["preview", *single]) == 0
    assert Image.open(tmp_path / "sheet.png").height > 1.5 * Image.open(tmp_path / "single.png").height


def test_each_concept_is_published_in_its_own_repository(finished, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    run = shutil.copytree(finished.folder, tmp_path / "run")
    assert Publisher.of_run(run, push=True).publish(run).splitlines() == [
        f"{hub.url}/alice/pair-my-cat",
        f"{hub.url}/alice/pair-my-dog",
    ]
    cat, dog = (hub.repos["model", f"alice/pair-{name}"].files for name in ("my-cat", "my-dog"))
    assert [sum(name.startswith("concept_images/") for name in files) for files in (cat, dog)] == [3, 2]
    assert dog["token_identifier.txt"] == b"my-dog\n"
    card = dog["README.md"].decode()
    assert "extra_concepts.dog.data.folder=concept_images" in card
    assert "data.folder=cats" in card, "without this machine's folders"
    assert Publisher(name="pair", repo_id="alice/x").repo_of("my-cat") == "alice/x-my-cat"


def test_preflight_checks_every_repository(folder, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.repos["model", "alice/pair-my-dog"] = Stored()
    with pytest.raises(ConfigError, match="alice/pair-my-dog"):
        preflight(compose(folder, "hub.push=true"))


@pytest.mark.parametrize(
    ("overrides", "messages"),
    [
        (
            "concept.placeholder_token=my-dog extra_concepts.dog={data:{captions:files},embedding:{init_noise:-1}}",
            ["extra_concepts.dog: data.captions", "extra_concepts.dog: embedding.init_noise", "have the same token"],
        ),
        ("extra_concepts.dog.concept.initializer_token=zebra", ["extra_concepts.dog: concept.initializer_token"]),
        ("optimizer=prodigy", ["optimizer: Prodigy estimates one learning rate for all vectors"]),
        ("scheduler=text scheduler.schedule=1e-3", ["extra_concepts.dog.lr=0.001: has no effect"]),
        (
            "optimizer=schedule_free extra_concepts.dog.embedding.ema=0.9",
            ["extra_concepts.dog: embedding.ema=0.9: this optimizer averages"],
        ),
        ("extra_concepts.dog.lr=-1", ["extra_concepts.dog: lr=-1: must be above 0"]),
        ("optimizer=adamw8bit", ["optimizer"]),
    ],
)
def test_preflight_names_every_problem_with_its_setting(folder, overrides, messages):
    with pytest.raises(ConfigError) as error:
        preflight(compose(folder, *overrides.split()))
    for message in messages:
        assert any(message in problem for problem in error.value.problems), error.value.problems


@pytest.mark.parametrize("optimizer", ["adafactor", "lion", "schedule_free"])
def test_other_optimizers_train_two_concepts(folder, optimizer):
    assert len(preflight(compose(folder, f"optimizer={optimizer}"))) == 2


def test_captions_have_room_for_the_vectors_of_all_their_tokens(folder, tmp_path):
    """As text, `my-cat` would take three tokens; as a learned token of this run it takes 64."""
    tiny_images(tmp_path / "pets", count=1)
    (tmp_path / "pets" / "0.txt").write_text("a my-cat and a toy dog with a big red cat and a {}")
    pets = [f"extra_concepts.dog.data.folder={tmp_path / 'pets'}", "extra_concepts.dog.data.captions=files"]
    assert preflight(compose(folder, *pets))
    with pytest.raises(ConfigError, match=r"extra_concepts\.dog: embedding\.num_vectors.* 85 "):
        preflight(compose(folder, *pets, "embedding.num_vectors=64"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+extra_concepts.dog.lrr=1", "did you mean lr?"),
        ("+extra_concepts.dog.data.fold=x", "did you mean f"),
        ("extra_concepts.dog.concept.kind=thing", "extra_concepts.dog.concept.kind"),
        ("extra_concepts.dog.lr=fast", "extra_concepts.dog.lr"),
        ("+extra_concepts.cow=1", "+extra_concept@extra_concepts.cow=obj"),
        ("+extra_concepts.cow.lr=1", "+extra_concept@extra_concepts.cow=object"),
        ("+extra_concept@extra_concepts.cow=objekt", "did you mean object?"),
        ("extra_concept@extra_concepts.cow=object", "+extra_concept@extra_concepts.cow=object"),
        ("+extra_concept=object", "+extra_concept@extra_concepts.NAME"),
        ("data@extra_concepts.dog.data=robot", "data robot"),
    ],
)
def test_typos_in_settings_of_extra_concepts_have_a_remedy(folder, override, message):
    problems = [problem.text for problem in find_problems(groups(), [*overrides_for(folder), override])]
    HydraConfig.instance().cfg = None
    assert any(message in problem for problem in problems), problems


def test_extra_concepts_inherit_the_settings_of_the_first(folder):
    overrides = ["data.batch_size=3", "data.resolution=64", "embedding.norm=soft", "embedding.ema=0.9"]
    dog = compose(folder, *overrides).extra_concepts.dog
    assert (dog.data.batch_size, dog.data.resolution, dog.data.flip) == (3, 64, False)
    assert dog.embedding == compose(folder, *overrides, "embedding.num_vectors=2").embedding
    assert compose(folder, "+experiment=two_toys").extra_concepts.robot.data.folder.endswith("concepts/robot")


def test_prefetch_fetches_the_images_of_all_concepts(folder, monkeypatch):
    located: list[str] = []
    monkeypatch.setattr("tinv.training.prefetch.locate_folder", lambda path, recursive: located.append(path))
    prefetch(compose(folder))
    assert located == [str(folder / "cats"), str(folder / "dogs")]


@pytest.mark.slow
def test_two_concepts_of_sdxl_have_vectors_for_both_encoders(folder, tmp_path):
    model = save(published("sdxl"), tmp_path / "model")
    settings = [f"model.pretrained={model}", f"paths.output_dir={tmp_path}/run", "callbacks.export.formats=[sdxl]"]
    train(compose(folder, *settings))
    shapes = [{name: len(v) for name, v in learned.vectors.items()} for learned in formats.read_all(tmp_path / "run")]
    assert shapes == [{"clip_l": 1, "clip_g": 1}, {"clip_l": 2, "clip_g": 2}]
    assert (tmp_path / "run" / "concepts" / "my-dog" / "learned_embeds_2.safetensors").is_file()
