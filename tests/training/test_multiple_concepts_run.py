"""A run of two concepts from the settings to the files, and every command that reads its folder."""

import csv
import json
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


def typed(place: Path) -> list[str]:
    return [
        "name=pair",
        "model=local",
        f"model.pretrained={place / 'model'}",
        f"data.folder={place / 'cats'}",
        "concept.placeholder_token=my-cat",
        "concept.initializer_token=cat",
        "data.batch_size=1",
        "data.val_draws=2",
        "+extra_concept@extra_concepts.dog=style",
        f"extra_concepts.dog.data.folder={place / 'dogs'}",
        "extra_concepts.dog.concept.placeholder_token=my-dog",
        "extra_concepts.dog.concept.initializer_token=dog",
        "extra_concepts.dog.embedding.num_vectors=2",
        "extra_concepts.dog.lr=1e-3",
        "trainer.max_steps=2",
        "trainer.accelerator=cpu",
        "trainer.val_check_interval=2",
        "trainer.log_every_n_steps=1",
        "callbacks.samples.num_inference_steps=1",
        "callbacks.samples.seeds=[0]",
        "callbacks.samples.prompts=['a {}','a {} and a my-dog']",
        "callbacks.export.every_n_steps=1",
        "callbacks.export.formats=[a1111,pipeline]",
    ]


def compose(place: Path, *overrides: str) -> Any:
    return composed(*typed(place), *overrides, output_dir=str(place / "run"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and two folders of pictures."""
    folder = tmp_path_factory.mktemp("pair")
    tiny_pipeline(folder / "model")
    tiny_images(folder / "cats")
    tiny_images(folder / "dogs", count=2)
    return folder


@pytest.fixture(scope="module")
def finished(place: Path) -> SimpleNamespace:
    """The folder of a run that has ended, its result, and what Hydra would have written."""
    cfg = compose(place)
    run = place / "run"
    result = train(cfg)
    (run / ".hydra").mkdir()
    OmegaConf.save(cfg, run / ".hydra" / "config.yaml")
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(typed(place)))
    (run / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": {"cwd": str(place)}}}))
    return SimpleNamespace(folder=run, result=result)


def test_each_concept_has_a_folder_with_what_a_run_of_one_has(finished):
    own = {
        "learned_embeds-steps-1.safetensors",
        "learned_embeds-steps-2.safetensors",
        "learned_embeds.safetensors",
        "token_identifier.txt",
        "type_of_concept.txt",
        "samples",
    }
    places = {name: finished.folder / "concepts" / name for name in ("my-cat", "my-dog")}
    for name, folder in places.items():
        assert {path.name for path in folder.iterdir()} == own | {f"{name}.pt"}
        assert (folder / "token_identifier.txt").read_text() == f"{name}\n"
        assert {path.name for path in (folder / "samples").iterdir()} == {"step_000000.png", "step_000002.png"}
        assert (
            formats.read(folder).placeholder_token == formats.read(folder / f"{name}.pt", token=name).placeholder_token
        )
    assert [(folder / "type_of_concept.txt").read_text() for folder in places.values()] == ["object\n", "style\n"]
    assert load_file(places["my-dog"] / "learned_embeds.safetensors")["my-dog"].shape == (2, 32)
    top = {path.name for path in finished.folder.iterdir()}
    assert {"concepts", "pipeline", "checkpoints", "run.json", "metrics.csv"} <= top
    assert not own & top


def test_a_pipeline_knows_all_of_the_words(finished):
    pipeline = StableDiffusionPipeline.from_pretrained(finished.folder / "pipeline", safety_checker=None)
    words = pipeline.tokenizer.convert_tokens_to_ids(["my-cat", "my-dog", "my-dog_1"])
    table = pipeline.text_encoder.get_input_embeddings().weight
    learned = [word.vectors["clip_l"] for word in formats.read_all(finished.folder)]
    assert torch.equal(table[words], torch.cat(learned))


def test_the_numbers_of_each_are_told_by_its_name(finished):
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


def test_the_folder_of_a_run_means_all_of_its_words(finished, tmp_path, capsys):
    assert [word.placeholder_token for word in formats.read_all(finished.folder)] == ["my-cat", "my-dog"]
    with pytest.raises(UserError, match=r"2 words .*; give the folder of one: .*concepts/my-cat or .*concepts/my-dog"):
        formats.read(finished.folder)
    assert main(["inspect", str(finished.folder)]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines() if line.startswith("word")] == [
        "my-cat",
        "my-dog",
    ]
    assert main(["convert", str(finished.folder), str(tmp_path / "files"), "--to", "a1111"]) == 0
    assert {path.name for path in (tmp_path / "files").iterdir()} == {"my-cat.pt", "my-dog.pt"}


def test_prompts_name_words_in_order_by_number_or_by_name(finished, tmp_path):
    prompts = ["a {} and a {}", "a {0} and a {1}", "a {my-cat} and a {my-dog}", "a {my-dog} and a {my-cat}"]
    drawn = []
    for number, prompt in enumerate(prompts):
        out = tmp_path / f"{number}.png"
        words = [
            "generate",
            "--embedding",
            str(finished.folder),
            prompt,
            "--out",
            str(out),
            "--num-inference-steps",
            "1",
        ]
        assert main([*words, "--device", "cpu"]) == 0
        drawn.append(Image.open(out).tobytes())
    assert drawn[0] == drawn[1] == drawn[2] != drawn[3]


def test_a_name_that_is_none_of_them_is_answered_with_those(finished, capsys):
    assert main(["generate", "--embedding", str(finished.folder), "a {dog}"]) == 1
    assert "or {my-cat}, {my-dog} by name" in capsys.readouterr().err


def test_a_preview_shows_what_is_seen_of_each(place, tmp_path, capsys):
    assert main(["preview", *typed(place), "--samples", "1", "--out", str(tmp_path / "sheet.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == [
        *("my-cat 0.png", "my-cat 1.png", "my-cat 2.png"),
        *("my-dog 0.png", "my-dog 1.png"),
    ]
    one = ["preview", *typed(place), "~extra_concepts.dog", "--samples", "1", "--out", str(tmp_path / "one.png")]
    assert main(one) == 0
    assert Image.open(tmp_path / "sheet.png").height > 1.5 * Image.open(tmp_path / "one.png").height


def test_each_word_goes_to_a_repository_of_its_own(finished, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert Publisher.of_run(finished.folder, push=True).publish(finished.folder).splitlines() == [
        f"{hub.url}/alice/pair-my-cat",
        f"{hub.url}/alice/pair-my-dog",
    ]
    cat, dog = (hub.repos["model", f"alice/pair-{name}"].files for name in ("my-cat", "my-dog"))
    assert [sum(name.startswith("concept_images/") for name in files) for files in (cat, dog)] == [3, 2]
    assert dog["token_identifier.txt"] == b"my-dog\n"
    card = dog["README.md"].decode()
    assert "| learned in one run with | `my-cat` |" in card
    assert "extra_concepts.dog.data.folder=concept_images" in card
    assert "data.folder=cats" in card  # without this machine's folders
    assert Publisher(name="pair", repo_id="alice/x").repository("my-cat") == "alice/x-my-cat"


def test_every_repository_is_looked_at_before_the_training(place, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.repos["model", "alice/pair-my-dog"] = Stored()
    with pytest.raises(ConfigError, match="the repository alice/pair-my-dog is there already and is public"):
        preflight(compose(place, "hub.push=true"))


def test_every_problem_is_named_with_its_place_before_anything_loads(place):
    cfg = compose(
        place,
        "extra_concepts.dog.concept.initializer_token=zebra",
        "extra_concepts.dog.data.captions=files",
        "extra_concepts.dog.embedding.init_noise=-1",
        "concept.placeholder_token=my-dog",
    )
    with pytest.raises(ConfigError) as error:
        preflight(cfg)
    text = "\n".join(error.value.problems)
    assert "extra_concepts.dog: data.captions = files: " in text and "no caption file beside" in text
    assert "extra_concepts.dog: embedding.init_noise = -1: must be 0 or more" in text
    assert "concept.placeholder_token and extra_concepts.dog.concept.placeholder_token are both my-dog" in text
    with pytest.raises(ConfigError, match=r"others\.dog: concept\.initializer 'zebra' is . tokens"):
        preflight(compose(place, "extra_concepts.dog.concept.initializer_token=zebra"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["optimizer=prodigy"], "optimizer: Prodigy looks for one rate for all rows together"),
        (
            ["scheduler=text", "scheduler.schedule=1e-3"],
            "extra_concepts.dog.lr=0.001: the rates of scheduler.schedule take",
        ),
        (
            ["optimizer=schedule_free", "extra_concepts.dog.embedding.ema=0.9"],
            "extra_concepts.dog: embedding.ema: this optimizer",
        ),
        (["extra_concepts.dog.lr=-1"], "extra_concepts.dog: lr must be above 0, got -1; null is optimizer.lr"),
        (["optimizer=adamw8bit"], "optimizer=adamw8bit needs the rows on a CUDA device"),
    ],
)
def test_what_cannot_be_combined_is_refused_in_words(place, overrides, said):
    with pytest.raises(ConfigError) as error:
        preflight(compose(place, *overrides))
    assert [problem for problem in error.value.problems if said in problem]


def test_a_caption_has_room_for_the_vectors_of_all_of_its_words(place, tmp_path):
    """As letters, `my-cat` would take three tokens; as a word of this run it takes 64."""
    tiny_images(tmp_path / "pets", count=1)
    (tmp_path / "pets" / "0.txt").write_text("a my-cat and a toy dog with a big red cat and a {}")
    pets = [f"extra_concepts.dog.data.folder={tmp_path / 'pets'}", "extra_concepts.dog.data.captions=files"]
    assert preflight(compose(place, *pets))
    with pytest.raises(
        ConfigError, match=r"others\.dog: embedding\.num_vectors = 2: does not fit into a prompt\..* uses 85 of"
    ):
        preflight(compose(place, *pets, "embedding.num_vectors=64"))


@pytest.mark.parametrize("optimizer", ["adafactor", "lion", "schedule_free"])
def test_other_optimizers_can(place, optimizer):
    assert len(preflight(compose(place, f"optimizer={optimizer}"))) == 2


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+extra_concepts.dog.lrr=1", "extra_concepts.dog.lrr: Lesson takes no such argument (did you mean lr?)"),
        (
            "+extra_concepts.dog.data.fold=x",
            "extra_concepts.dog.data.fold: ConceptDataModule takes no such argument (did you mean f",
        ),
        (
            "extra_concepts.dog.concept.kind=thing",
            "extra_concepts.dog.concept.kind: must be object or style, got 'thing'",
        ),
        ("extra_concepts.dog.lr=fast", "extra_concepts.dog.lr: must be float or null, got 'fast'"),
        (
            "+extra_concepts.cow=1",
            "extra_concepts.cow: must be a concept with its pictures, got 1; begin with +extra_concept@extra_concepts.cow=obj",
        ),
        (
            "+extra_concepts.cow.lr=1",
            "extra_concepts.cow.data: cannot be left out; begin with +extra_concept@extra_concepts.cow=object",
        ),
        ("+extra_concept@extra_concepts.cow=objekt", "there is no another objekt (did you mean object?)"),
        (
            "extra_concept@extra_concepts.cow=object",
            "is added, not replaced; write +extra_concept@extra_concepts.cow=object",
        ),
        (
            "+another=object",
            "another: there is no such group or setting; say which, and where: +extra_concept@extra_concepts.NAME",
        ),
        ("data@extra_concepts.dog.data=robot", "there is no data robot"),
    ],
)
def test_a_misspelt_setting_of_another_concept_is_answered_as_any_other(place, override, said):
    problems = [problem.text for problem in find_problems(groups(), [*typed(place), override])]
    HydraConfig.instance().cfg = None
    assert any(said in problem for problem in problems), problems


def test_what_is_not_set_for_another_concept_is_as_the_runs_own(place):
    overrides = ["data.batch_size=3", "data.resolution=64", "embedding.norm=soft", "embedding.ema=0.9"]
    dog = compose(place, *overrides).extra_concepts.dog
    assert (dog.data.batch_size, dog.data.resolution, dog.data.flip) == (3, 64, False)
    assert dog.embedding == compose(place, *overrides, "embedding.num_vectors=2").embedding
    assert compose(place, "+experiment=two_toys").extra_concepts.robot.data.folder.endswith("concepts/robot")


def test_pictures_of_all_concepts_are_fetched(place, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr("tinv.training.prefetch.locate_folder", lambda folder, recursive: asked.append(folder))
    prefetch(compose(place))
    assert asked == [str(place / "cats"), str(place / "dogs")]


@pytest.mark.slow
def test_two_concepts_of_sdxl_have_rows_in_both_encoders(place, tmp_path):
    folder = save(published("sdxl"), tmp_path / "model")
    cfg = compose(
        place, f"model.pretrained={folder}", f"paths.output_dir={tmp_path / 'run'}", "callbacks.export.formats=[sdxl]"
    )
    train(cfg)
    cat, dog = formats.read_all(tmp_path / "run")
    assert {name: len(rows) for name, rows in cat.vectors.items()} == {"clip_l": 1, "clip_g": 1}
    assert {name: len(rows) for name, rows in dog.vectors.items()} == {"clip_l": 2, "clip_g": 2}
    assert (tmp_path / "run" / "concepts" / "my-dog" / "learned_embeds_2.safetensors").is_file()
