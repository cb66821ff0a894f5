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
from tinv.publish.run_facts import public_overrides
from tinv.publish.staging import stage

GPS, ORIENTATION, MAKER = 0x8825, 0x0112, 0x010F


@pytest.fixture
def images(tmp_path):
    """A rotated photo with metadata, an image with transparency, and a gray one."""
    folder = tmp_path / "secret-client"
    folder.mkdir()
    photo = Image.new("RGB", (80, 60), (200, 30, 30))
    photo.paste((20, 20, 200), (0, 0, 80, 20))
    exif = photo.getexif()
    exif[ORIENTATION], exif[MAKER] = 6, "Camera of Alice"
    exif.get_ifd(GPS)[2] = (IFDRational(48), IFDRational(8), IFDRational(0))
    photo.save(folder / "alice at home.jpg", exif=exif, icc_profile=b"profile of Alice's monitor", comment=b"Alice")
    Image.new("RGBA", (50, 50), (0, 200, 0, 128)).save(folder / "b.png")
    Image.new("L", (2000, 500), 100).save(folder / "c.png")
    return folder


def staged(run, **options):
    folder = stage(run, run, **{"repo_id": "alice/cat-toy", "license": None, "concept_images": True} | options)
    return folder, sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


LAYOUT = """README.md concept_images/0.jpeg concept_images/1.png concept_images/2.jpeg learned_embeds.bin
learned_embeds.safetensors samples/step_000000.png samples/step_003000.png token_identifier.txt
type_of_concept.txt""".split()


def test_the_files_are_those_of_the_sd_concepts_library_and_hold_only_the_learned_vectors(tmp_path, images):
    run = finished_run(tmp_path / "run", images=images)
    folder, files = staged(run)
    assert (folder, files) == (run / "hub", LAYOUT)
    assert (folder / "token_identifier.txt").read_text() == "<cat-toy>\n"
    assert (folder / "type_of_concept.txt").read_text() == "object\n"
    vectors = formats.read(run).vectors["clip_l"]
    assert (folder / "learned_embeds.bin").stat().st_size < vectors.numel() * 4 + 2000
    for name in ("learned_embeds.bin", "learned_embeds.safetensors"):
        assert torch.equal(formats.read(folder / name).vectors["clip_l"], vectors)


def test_sdxl_has_the_two_files_of_diffusers_and_one_for_other_programs(tmp_path, images):
    run = finished_run(tmp_path / "run", images=images, encoders=("clip_l", "clip_g"))
    folder, files = staged(run)
    assert set(files) - set(LAYOUT) == {"cat-toy.safetensors", "learned_embeds_2.bin", "learned_embeds_2.safetensors"}
    with safe_open(folder / "cat-toy.safetensors", "pt") as file:
        assert sorted(file.keys()) == ["clip_g", "clip_l"]
    card = (folder / "README.md").read_text()
    assert 'weight_name="learned_embeds_2.safetensors", text_encoder=pipe.text_encoder_2' in card
    assert "stable-diffusion-xl" in card


def test_images_are_upright_and_without_metadata(tmp_path, images):
    folder, files = staged(finished_run(tmp_path / "run", images=images))
    for name in files:
        data = (folder / name).read_bytes()
        assert b"Alice" not in data and b"Exif" not in data and b"secret-client" not in data, name
        if name.startswith("concept_images/"):
            with Image.open(folder / name) as image:
                assert not image.getexif()
                assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    with Image.open(folder / "concept_images" / "0.jpeg") as photo:
        assert photo.size == (60, 80)
        assert photo.getpixel((5, 40))[0] > 150 and photo.getpixel((55, 40))[2] > 150  # what was on top is at the right
    with Image.open(folder / "concept_images" / "1.png") as transparent:
        assert transparent.mode == "RGBA" and transparent.getpixel((9, 9)) == (0, 200, 0, 128)
    with Image.open(folder / "concept_images" / "2.jpeg") as gray:
        assert gray.size == (1024, 256)


def test_nothing_about_this_machine_is_published(tmp_path, images):
    model = tmp_path / "home-of-alice" / "my-model"
    model.mkdir(parents=True)
    overrides = (f"paths.root_dir={tmp_path}/home-of-alice", "logger=wandb", "tags=[alice]", "optimizer.lr=1e-3")
    folder, files = staged(finished_run(tmp_path / "run", *overrides, images=images, base=str(model)))
    for name in files:
        assert str(tmp_path).encode() not in (folder / name).read_bytes(), name
    card = (folder / "README.md").read_text()
    assert "alices-laptop" not in card and "[alice]" not in card
    assert "optimizer.lr=1e-3" in card and "data.folder=concept_images" in card
    assert 'from_pretrained("my-model")' in card
    assert formats.read(folder).provenance["base_model"] == "my-model"


def test_public_overrides_have_no_folders_and_no_private_settings(tmp_path):
    (tmp_path / "own" / "model").mkdir(parents=True)
    published = {
        "+experiment=cat": "+experiment=cat",
        "model.pretrained=own/model": "model.pretrained=model",
        "model.vae=stabilityai/sd-vae-ft-mse@main": "model.vae=stabilityai/sd-vae-ft-mse@main",
        "embedding.init_file=C:\\Users\\alice\\x.pt": "embedding.init_file=x.pt",
        "~callbacks.samples": "~callbacks.samples",
        "hub.repo_id=alice/x": None,
        "resume=latest": None,
        "data.folder=hf://datasets/a/b": "data.folder=concept_images",
        "scheduler.schedule='5e-3:100, 1e-3'": "scheduler.schedule='5e-3:100, 1e-3'",
        'samples.prompts=["a {} on the sea/beach", "a/b"]': 'samples.prompts=["a {} on the sea/beach", "a/b"]',
        "embedding.init_file='/home/alice smith/own words/x.pt'": "embedding.init_file='x.pt'",
        "model.tokenizer=~/tokenizers/mine": "model.tokenizer=mine",
        "+data.repeats={/home/alice/a.png: 3}": "+data.repeats={a.png: 3}",
    }
    assert public_overrides(list(published), tmp_path) == list(filter(None, published.values()))


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
def test_the_license_is_never_guessed(tmp_path, images, base, own, expected):
    folder, _ = staged(finished_run(tmp_path / "run", images=images, base=base), license=own)
    assert front_matter(folder).get("license") == expected
    assert formats.read(folder).provenance.get("license") == own
    if expected is None:
        assert "openrail" not in (folder / "README.md").read_text()


def test_the_license_in_the_embedding_is_used(tmp_path, images):
    run = finished_run(tmp_path / "run", images=images, license="cc-by-4.0", base_license="openrail++")
    folder, _ = staged(run)
    card = (folder / "README.md").read_text()
    assert front_matter(folder)["license"] == "cc-by-4.0"
    assert "The embedding is licensed under cc-by-4.0" in card and "is licensed under openrail++" in card
    assert front_matter(staged(run, license="mit")[0])["license"] == "mit"


def test_the_card_has_the_facts_of_the_run(tmp_path, images):
    run = finished_run(tmp_path / "run", images=images, base_revision="0123abc", tinv_version="9.9")
    folder, files = staged(run)
    front, card = front_matter(folder), (folder / "README.md").read_text()
    assert front["base_model"] == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert front["library_name"] == "diffusers" and "textual_inversion" in front["tags"]
    assert front["instance_prompt"] == "<cat-toy>"
    facts = "3000", "0.1235", "NVIDIA A100", "1 h 1 min", "bf16-mixed", "tinv 9.9", "`toy`", "2 of 768", "0123abc"
    for fact in facts:
        assert fact in card, fact
    for link in re.findall(r"\]\(([^h)][^)]*)\)", card):
        assert link in files


def test_a_revision_in_the_name_of_the_model_is_separated(tmp_path, images):
    folder, _ = staged(finished_run(tmp_path / "run", images=images, base="somebody/model@v2"))
    assert front_matter(folder)["base_model"] == "somebody/model"
    assert 'from_pretrained("somebody/model", revision="v2")' in (folder / "README.md").read_text()


def test_a_style_has_its_type_and_prompt(tmp_path, images):
    folder, _ = staged(finished_run(tmp_path / "run", "concept=style", images=images, kind="style"))
    assert (folder / "type_of_concept.txt").read_text() == "style\n"
    assert "in the style of <cat-toy>" in (folder / "README.md").read_text()


def test_staging_again_replaces_all_files_and_needs_no_details_in_the_run_card(tmp_path, images):
    run = finished_run(tmp_path / "run", images=images)
    first, files = staged(run)
    (first / "stray.txt").write_text("mine")
    (run / "run.json").write_text(json.dumps({"status": "finished"}))
    folder, again = staged(run)
    assert again == files and not list(run.glob(".hub-*"))
    assert "| None |" not in (folder / "README.md").read_text()
