"""Uploads are images, few and small enough, and stay below their folder."""

import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from tinv.errors import UserError
from tinv.ui.image_sets import ChosenImage, ImageSet, keep_for_run
from tinv.ui.server import MAX_UPLOAD_BYTES, create_app

FILE = {"content-type": "application/octet-stream"}


def png(size: tuple[int, int] = (40, 30), kind: str = "png") -> bytes:
    Image.new("RGB", size, "teal").save(file := BytesIO(), format=kind)
    return file.getvalue()


def zip_file() -> bytes:
    with zipfile.ZipFile(file := BytesIO(), "w") as archive:
        archive.writestr("1.png", png())
    return file.getvalue()


@pytest.fixture
def web(tmp_path: Path):
    return TestClient(create_app(tmp_path / "outputs"), base_url="http://127.0.0.1:7878")


@pytest.fixture
def images(web) -> str:
    return web.post("/api/images", json={}).json()["id"]


@pytest.mark.parametrize(
    "name", ["cat.png", "..%2f..%2fcat.png", "cat<script>.png", "%2fetc%2fpasswd", ".hidden", "a" * 300]
)
def test_an_uploaded_image_gets_a_safe_name_in_its_set(web, images, tmp_path, name):
    answer = web.post(f"/api/images/{images}/{name}", content=png(kind="jpeg"), headers=FILE)
    inside = {*(tmp_path / "outputs/uploads" / images).rglob("*")}
    assert not {path for path in tmp_path.rglob("*") if path.is_file()} - inside
    if answer.status_code == 200:
        saved = answer.json()
        assert saved["name"].endswith(".jpg") and not set("/\\<>") & set(saved["name"])
        assert (saved["width"], saved["height"]) == (40, 30)
        copy = web.get(f"/image/{images}/{saved['name']}")
        assert Image.open(BytesIO(copy.content)).format == "WEBP"
    else:
        assert answer.status_code == 404


@pytest.mark.parametrize(
    "content", [zip_file(), b"", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg onload='x'/>", png()[:60]]
)
def test_what_is_no_image_is_refused_by_its_content(web, images, tmp_path, content):
    answer = web.post(f"/api/images/{images}/cat.png", content=content, headers=FILE)
    assert answer.status_code == 400 and "cat.png" in answer.json()["error"]
    assert [path for path in (tmp_path / "outputs/uploads" / images).rglob("*") if path.is_file()] == []


def test_an_image_with_too_many_pixels_is_refused(web, images):
    Image.new("1", (30_000, 30_000)).save(file := BytesIO(), format="png")
    answer = web.post(f"/api/images/{images}/bomb.png", content=file.getvalue(), headers=FILE)
    assert answer.status_code == 400 and "pixels" in answer.json()["error"]


def test_an_upload_may_not_exceed_its_length_or_the_limit(web, images):
    headers = {**FILE, "content-length": str(MAX_UPLOAD_BYTES + 1)}
    assert web.post(f"/api/images/{images}/big.png", headers=headers).status_code == 413


@pytest.mark.parametrize("other", ["..", "20261122-180000-00000000", "x"])
def test_only_sets_of_images_are_found(web, other):
    assert web.post(f"/api/images/{other}/cat.png", content=png(), headers=FILE).status_code in (400, 404)
    assert web.get(f"/image/{other}/cat.png").status_code in (400, 404)


def test_a_folder_is_copied_with_its_captions(web, images, tmp_path):
    folder = tmp_path / "mugs"
    folder.mkdir()
    (folder / "front.png").write_bytes(png())
    (folder / "front.txt").write_text("{} on a table\nanother\n")
    (back := web.post(f"/api/folder/{images}", json={"folder": str(folder)})).raise_for_status()
    assert [(image["name"], image["caption"]) for image in back.json()] == [("front.png", "{} on a table")]
    assert web.post(f"/api/folder/{images}", json={"folder": str(tmp_path / "none")}).status_code == 400
    assert web.post(f"/api/folder/{images}", json={"folder": ""}).status_code == 400


def test_a_choice_is_a_folder_that_stays_while_a_run_reads_it(web, images, tmp_path):
    for name in ("a", "b", "c"):
        web.post(f"/api/images/{images}/{name}.png", content=png(), headers=FILE)
    chosen = ImageSet(tmp_path / "outputs/uploads" / images)
    first = chosen.arrange([ChosenImage("c.png", "{} in  red\n"), ChosenImage("a.png", "")])
    assert sorted(path.name for path in first.glob("[0-9]*")) == ["1 c.png", "1 c.txt", "2 a.png"]
    assert (first / "1 c.txt").read_text() == "{} in red\n"
    assert chosen.arrange([ChosenImage("c.png", "{} in  red\n"), ChosenImage("a.png", "")]) == first
    keep_for_run(first)
    second = chosen.arrange([ChosenImage("b.png", "")])
    third = chosen.arrange([ChosenImage("a.png", "")])
    assert first.is_dir() and third.is_dir() and not second.exists()
    with pytest.raises(UserError, match="no such image"):
        chosen.arrange([ChosenImage("../../x.png", "")])


def test_a_set_has_a_limit(web, images, monkeypatch):
    monkeypatch.setattr("tinv.ui.image_sets.MAX_IMAGES", 1)
    assert web.post(f"/api/images/{images}/a.png", content=png(), headers=FILE).status_code == 200
    assert web.post(f"/api/images/{images}/b.png", content=png(), headers=FILE).status_code == 400
