"""Samples and embeddings are read from run folders of one or several concepts."""

from PIL import Image
from torch import ones

from tinv import formats
from tinv.formats import LearnedEmbedding
from tinv.runs.image_grid import draw_grid, save_grid
from tinv.training.loggers.run_artifacts import learned_embeddings, sample_sheets, sheet_images


def write_run(folder, placeholder, *, step=4, columns=("seed 0", "seed 7")):
    (folder / "samples").mkdir(parents=True)
    images = [Image.new("RGB", (32, 32), (40 * i, 0, 0)) if i else None for i in range(len(columns))]
    path = folder / "samples" / f"step_{step:06d}.png"
    save_grid(draw_grid(images, rows=[f"a {placeholder}"], columns=list(columns)), path)
    formats.write(folder / "learned_embeds.safetensors", LearnedEmbedding(placeholder, {"clip_l": ones(2, 8)}))
    return path


def test_a_run_of_one_concept(tmp_path):
    path = write_run(tmp_path, "<cat>")
    assert list(sample_sheets(tmp_path)) == [("samples", 4, path)]
    (missing, red) = sheet_images(path)
    assert missing == ("a <cat>", 0, None)
    assert red[:2] == ("a <cat>", 7) and red[2].getpixel((3, 3)) == (40, 0, 0)
    tokens = {file: learned.placeholder_token for file, learned in learned_embeddings(tmp_path)}
    assert tokens == {tmp_path / "learned_embeds.safetensors": "<cat>"}


def test_a_run_of_several_concepts(tmp_path):
    paths = [write_run(tmp_path / "concepts" / name, f"<{name}>") for name in ("cat", "robot")]
    assert list(sample_sheets(tmp_path)) == [("samples/cat", 4, paths[0]), ("samples/robot", 4, paths[1])]
    assert [learned.placeholder_token for _, learned in learned_embeddings(tmp_path)] == ["<cat>", "<robot>"]


def test_other_files_are_skipped(tmp_path):
    path = write_run(tmp_path, "<cat>", columns=("first", "second"))
    assert [seed for _, seed, _ in sheet_images(path)] == ["first", "second"]
    path.with_name("step_x.png").write_bytes(b"")
    path.write_bytes(b"no image")
    (tmp_path / "learned_embeds.safetensors").write_bytes(b"no embedding")
    assert list(sample_sheets(tmp_path)) == [("samples", 4, path)]
    assert sheet_images(path) == list(learned_embeddings(tmp_path)) == []
    assert not list(sample_sheets(tmp_path / "nowhere")) + list(learned_embeddings(tmp_path / "nowhere"))
