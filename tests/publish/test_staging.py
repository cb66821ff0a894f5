"""What is laid out for others: all of it, and nothing of this machine or its owner."""

import json
import re

import pytest
import torch
import yaml
from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from safetensors import safe_open

from tests.publish.runs import finished_run
from tinv import formats
from tinv.errors import UserError
from tinv.publish.run_facts import public_overrides
from tinv.publish.staging import stage

GPS, ORIENTATION, MAKER = 0x8825, 0x0112, 0x010F


@pytest.fixture
def pictures(tmp_path):
    """A photograph that lies on its side and knows where it was taken, a transparent drawing, and a grey one."""
    folder = tmp_path / "secret-client"
    folder.mkdir()
    photo = Image.new("RGB", (80, 60), (200, 30, 30))
    photo.paste((20, 20, 200), (0, 0, 80, 20))
    exif = photo.getexif()
    exif[ORIENTATION], exif[MAKER] = 6, "Camera of Alice"
    exif.get_ifd(GPS)[2] = (IFDRational(48), IFDRational(8), IFDRational(0))
    photo.save(folder / "alice at home.jpg", exif=exif, icc_profile=b"profile of Alice's monitor", comment=b"Alice")
    drawing = Image.new("RGBA", (50, 50), (0, 200, 0, 128))
    drawing.save(folder / "b.png")
    Image.new("L", (2000, 500), 100).save(folder / "c.png")
    return folder


def staged(run, **options):
    folder = stage(run, run, **{"repo_id": "alice/cat-toy", "license": None, "concept_images": True} | options)
    return folder, sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


LAYOUT = [
    "README.md",
    "concept_images/0.jpeg",
    "concept_images/1.png",
    "concept_images/2.jpeg",
    "learned_embeds.bin",
    "learned_embeds.safetensors",
    "samples/step_000000.png",
    "samples/step_003000.png",
    "token_identifier.txt",
    "type_of_concept.txt",
]


def test_the_layout_is_that_of_the_concept_library_and_nothing_more(tmp_path, pictures):
    """E-34: the reference script pushes gigabytes of the base model."""
    folder, files = staged(finished_run(tmp_path / "run", pictures=pictures))
    assert files == LAYOUT
    assert (folder / "token_identifier.txt").read_text() == "<cat-toy>\n"
    assert (folder / "type_of_concept.txt").read_text() == "object\n"
    assert folder == tmp_path / "run" / "hub"


def test_both_files_hold_the_rows_and_only_them(tmp_path, pictures):
    """E-36: the reference script's `.bin` holds the whole vocabulary, where it was written on a CPU."""
    run = finished_run(tmp_path / "run", pictures=pictures)
    folder, _ = staged(run)
    rows = formats.read(run).vectors["clip_l"]
    assert (folder / "learned_embeds.bin").stat().st_size < rows.numel() * 4 + 2000
    for name in ("learned_embeds.bin", "learned_embeds.safetensors"):
        assert torch.equal(formats.read(folder / name).vectors["clip_l"], rows)


def test_sdxl_has_diffusers_pair_and_the_file_that_other_programs_read(tmp_path, pictures):
    run = finished_run(tmp_path / "run", pictures=pictures, encoders=("clip_l", "clip_g"))
    folder, files = staged(run)
    assert set(files) - set(LAYOUT) == {"cat-toy.safetensors", "learned_embeds_2.bin", "learned_embeds_2.safetensors"}
    with safe_open(folder / "cat-toy.safetensors", "pt") as file:
        assert sorted(file.keys()) == ["clip_g", "clip_l"]
    card = (folder / "README.md").read_text()
    assert 'weight_name="learned_embeds_2.safetensors", text_encoder=pipe.text_encoder_2' in card
    assert "stable-diffusion-xl" in card


def test_pictures_stand_upright_and_say_nothing_of_where_when_and_whose(tmp_path, pictures):
    folder, files = staged(finished_run(tmp_path / "run", pictures=pictures))
    for name in files:
        data = (folder / name).read_bytes()
        assert b"Alice" not in data and b"Exif" not in data and b"secret-client" not in data, name
    for name in files:
        if name.startswith("concept_images/"):
            with Image.open(folder / name) as picture:
                assert not picture.getexif()
                assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    with Image.open(folder / "concept_images" / "0.jpeg") as photo:
        assert photo.size == (60, 80)
        assert photo.getpixel((5, 40))[0] > 150 and photo.getpixel((55, 40))[2] > 150  # what was on top is at the right
    with Image.open(folder / "concept_images" / "1.png") as drawing:
        assert drawing.mode == "RGBA" and drawing.getpixel((9, 9)) == (0, 200, 0, 128)
    with Image.open(folder / "concept_images" / "2.jpeg") as grey:
        assert grey.size == (1024, 256)


def test_the_pictures_can_be_kept(tmp_path, pictures):
    folder, files = staged(finished_run(tmp_path / "run", pictures=pictures), concept_images=False)
    assert not [name for name in files if name.startswith("concept_images")]
    assert "3, not published" in (folder / "README.md").read_text()


def test_nothing_of_this_machine_is_told(tmp_path, pictures):
    model = tmp_path / "home-of-alice" / "my-model"
    model.mkdir(parents=True)
    overrides = (f"paths.root_dir={tmp_path}/home-of-alice", "logger=wandb", "tags=[alice]", "optimizer.lr=1e-3")
    folder, files = staged(finished_run(tmp_path / "run", *overrides, pictures=pictures, base=str(model)))
    for name in files:
        assert str(tmp_path).encode() not in (folder / name).read_bytes(), name
    card = (folder / "README.md").read_text()
    assert "alices-laptop" not in card and "[alice]" not in card
    assert "optimizer.lr=1e-3" in card and "data.folder=concept_images" in card
    assert 'from_pretrained("my-model")' in card
    assert formats.read(folder).provenance["base_model"] == "my-model"


def test_overrides_lose_places_but_not_meaning(tmp_path):
    (tmp_path / "own" / "model").mkdir(parents=True)
    typed = [
        "+experiment=cat",
        "model.pretrained=own/model",
        "model.vae=stabilityai/sd-vae-ft-mse@main",
        "embedding.init_file=C:\\Users\\alice\\x.pt",
        "~callbacks.samples",
        "hub.repo_id=alice/x",
        "resume=latest",
        "data.folder=hf://datasets/a/b",
        "scheduler.schedule='5e-3:100, 1e-3'",
        'callbacks.samples.prompts=["a {} on the sea/beach", "half/half"]',
        "embedding.init_file='/home/alice smith/own words/x.pt'",
        "model.tokenizer=~/tokenizers/mine",
        "+data.repeats={/home/alice/a.png: 3}",
    ]
    assert public_overrides(typed, tmp_path) == [
        "+experiment=cat",
        "model.pretrained=model",
        "model.vae=stabilityai/sd-vae-ft-mse@main",
        "embedding.init_file=x.pt",
        "~callbacks.samples",
        "data.folder=concept_images",
        "scheduler.schedule='5e-3:100, 1e-3'",
        'callbacks.samples.prompts=["a {} on the sea/beach", "half/half"]',
        "embedding.init_file='x.pt'",
        "model.tokenizer=mine",
        "+data.repeats={a.png: 3}",
    ]


def front_matter(folder):
    return yaml.safe_load(re.match(r"---\n(.*?)---\n", (folder / "README.md").read_text(), re.DOTALL)[1])


@pytest.mark.parametrize(
    ("base", "own", "expected"),
    [
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", None, "creativeml-openrail-m"),
        ("stabilityai/stable-diffusion-xl-base-1.0", None, "openrail++"),
        ("pkg://tinv/toybox/pipeline", None, "apache-2.0"),
        ("somebody/finetune", None, None),
        ("somebody/finetune", "cc-by-4.0", "cc-by-4.0"),
    ],
)
def test_the_license_is_the_one_there_is_and_never_guessed(tmp_path, pictures, base, own, expected):
    """E-34: the reference card has OpenRAIL-M for every base model."""
    folder, _ = staged(finished_run(tmp_path / "run", pictures=pictures, base=base), license=own)
    assert front_matter(folder).get("license") == expected
    assert formats.read(folder).provenance.get("license") == own
    if expected is None:
        assert "openrail" not in (folder / "README.md").read_text()


def test_a_license_that_the_run_gave_its_word_holds(tmp_path, pictures):
    run = finished_run(tmp_path / "run", pictures=pictures, license="cc-by-4.0", base_license="openrail++")
    folder, _ = staged(run)
    card = (folder / "README.md").read_text()
    assert front_matter(folder)["license"] == "cc-by-4.0"
    assert "The word is under cc-by-4.0" in card and "is under openrail++" in card
    assert front_matter(staged(run, license="mit")[0])["license"] == "mit"


def test_the_card_tells_the_truth(tmp_path, pictures):
    """E-33, E-34: the reference card has pictures by chance, and neither usage nor settings."""
    run = finished_run(tmp_path / "run", pictures=pictures, base_revision="0123abc", tinv_version="9.9")
    folder, files = staged(run)
    front, card = front_matter(folder), (folder / "README.md").read_text()
    assert front["base_model"] == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert front["library_name"] == "diffusers" and "textual_inversion" in front["tags"]
    assert front["instance_prompt"] == "<cat-toy>"
    for fact in (
        "3000",
        "0.1235",
        "NVIDIA A100",
        "1 h 1 min",
        "bf16-mixed",
        "tinv 9.9",
        "`toy`",
        "2 of 768",
        "0123abc",
    ):
        assert fact in card, fact
    for link in re.findall(r"\]\(([^h)][^)]*)\)", card):
        assert link in files


def test_a_revision_that_is_part_of_the_model_is_told_apart(tmp_path, pictures):
    folder, _ = staged(finished_run(tmp_path / "run", pictures=pictures, base="somebody/model@v2"))
    assert front_matter(folder)["base_model"] == "somebody/model"
    assert 'from_pretrained("somebody/model", revision="v2")' in (folder / "README.md").read_text()


def test_a_style_is_called_one(tmp_path, pictures):
    run = finished_run(tmp_path / "run", "concept=style", pictures=pictures, kind="style")
    folder, _ = staged(run)
    assert (folder / "type_of_concept.txt").read_text() == "style\n"
    assert "in the style of <cat-toy>" in (folder / "README.md").read_text()


def test_staging_again_leaves_nothing_of_the_first_time(tmp_path, pictures):
    run = finished_run(tmp_path / "run", pictures=pictures)
    first, files = staged(run)
    (first / "stray.txt").write_text("mine")
    assert staged(run)[1] == files
    assert not list(run.glob(".hub-*"))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="not a readable run folder"):
        stage(tmp_path, tmp_path, repo_id="a/b", license=None, concept_images=True)


def test_a_run_without_a_card_of_its_machine_still_has_a_card(tmp_path, pictures):
    run = finished_run(tmp_path / "run", pictures=pictures)
    (run / "run.json").write_text(json.dumps({"status": "finished"}))
    folder, _ = staged(run)
    assert "| None |" not in (folder / "README.md").read_text()
