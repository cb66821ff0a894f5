"""A placeholder token that is accepted comes back from every file; one that is refused has a valid suggestion."""

import ast
import random
import re
import shutil
import unicodedata
from pathlib import Path

import pytest
import torch

from tests.fuzz.conftest import CaseCounter
from tests.fuzz.test_embedding_files import NAMES
from tinv.concept import Concept, slug
from tinv.errors import UserError
from tinv.formats import FORMATS, LearnedEmbedding, get_format, read, write
from tinv.formats.writable_token import check_writable_token

pytestmark = pytest.mark.slow
V, G = torch.full((2, 8), 0.1), torch.full((2, 1280), 0.1)
VECTORS = {
    "one encoder": {"clip_l": V},
    "sdxl": {"clip_l": torch.full((2, 768), 0.1), "clip_g": G},
    "negative": {"clip_l": V, "clip_l/negative": V},
    "stages": {"clip_l/stage.0": V, "clip_l/stage.1": V},
    "flux": {"clip_l": torch.full((2, 768), 0.1), "t5": torch.full((2, 4096), 0.1)},
    "klein": {"qwen3": torch.full((2, 2560), 0.1)},
}
ALPHABETS = (
    "abcxyz-_0189<>",
    "<>.:*?\"'|&%$#@!~^=+,;()[]`",
    "éßıſςµﬁ²ａ中かб",
    "/\\{} \t\n\u00a0\u202e\u200b\ufe0f\u0301",
)
DEVICES = ("con", "NUL", "com1", "lpt9", "aux.", "concept")


def random_token(rng: random.Random) -> str:
    """Returns a word, a name that files use, any characters of Unicode, or a mixture of these."""

    def piece() -> str:
        match rng.randrange(6):
            case 0:
                return rng.choice((*NAMES, *DEVICES))
            case 1:
                return "".join(chr(rng.randrange(0x110000)) for _ in range(rng.randrange(1, 4)))
            case 2:
                return "".join(chr(rng.randrange(0x20, 0x800)) for _ in range(rng.randrange(1, 4)))
            case _:
                return "".join(rng.choices(ALPHABETS[rng.choice((0, 0, 0, 1, 2, 3))], k=rng.randrange(1, 8)))

    token = "".join(piece() for _ in range(rng.choice((1, 1, 2, 3)))) * rng.choice((1, 1, 1, 1, 30))
    return f"<{token}>" if rng.random() < 0.4 else token


def is_accepted(token: str) -> bool:
    """Returns whether a run would train the token; a refusal must suggest a token that is not refused."""
    try:
        Concept(placeholder_token=token)
    except UserError as error:
        suggestion = ast.literal_eval(re.search(r" Write (.*) instead\.$", str(error), re.DOTALL)[1])
        Concept(placeholder_token=suggestion)
        return False
    try:
        check_writable_token(token, "concept.placeholder_token")
    except UserError:
        return False
    return True


@pytest.mark.parametrize("kind", VECTORS)
def test_an_accepted_token_comes_back_from_every_file(tmp_path: Path, kind: str, count_cases: CaseCounter) -> None:
    num_accepted, num_tokens = 0, count_cases.scaled(600)
    for number in range(num_tokens):
        token = random_token(count_cases.rng)
        with count_cases.case(f"{kind} {token!r}"):
            if not is_accepted(token):
                continue
            num_accepted += 1
            folder = tmp_path / str(number)
            for name in formats_of(kind, with_image=number % 8 == 0):
                check_round_trip(folder / str(name), LearnedEmbedding(token, VECTORS[kind]), name)
            shutil.rmtree(folder, ignore_errors=True)
    assert num_accepted > num_tokens / 10


def formats_of(kind: str, *, with_image: bool) -> list[str | None]:
    """Returns the formats with room for some of VECTORS; an image takes as long as ten other files."""
    if kind == "stages":
        return [None]
    encoders = frozenset(VECTORS[kind]) - {"clip_l/negative"}
    sets = {name: get_format(name).encoder_sets for name in FORMATS if with_image or name != "a1111_png"}
    return [name for name, allowed in sets.items() if allowed is None or encoders in allowed]


def check_round_trip(folder: Path, embedding: LearnedEmbedding, name: str | None) -> None:
    """Writes an embedding as a run and `tinv convert` do, and reads it."""
    path = get_format(name or "diffusers").default_path(folder, embedding)
    files = write(path, embedding, name)
    assert all(file.parent == folder and len(file.name.encode()) < 200 for file in files)
    after = read(files[0])
    only_file_name = name in ("a1111", "a1111_png") and len(embedding.vectors) == 2 and "clip_g" in embedding.vectors
    assert after.placeholder_token == (
        slug(embedding.placeholder_token) if only_file_name else embedding.placeholder_token
    )
    has_no_metadata = name == "diffusers_bin" and "clip_l/negative" in embedding.vectors
    assert set(after.vectors) == ({"clip_l"} if has_no_metadata else set(embedding.vectors))
    assert all(torch.equal(vectors_KD, embedding.vectors[key]) for key, vectors_KD in after.vectors.items())


def test_of_tokens_that_differ_in_case_or_normal_form_one_is_accepted(count_cases: CaseCounter) -> None:
    for _ in range(count_cases.scaled(5000)):
        token = random_token(count_cases.rng)
        with count_cases.case(repr(token)):
            if is_accepted(token):
                twins = {unicodedata.normalize(form, token) for form in ("NFC", "NFD", "NFKC", "NFKD")} | {
                    token.upper()
                }
                twins -= {token}
                folded = unicodedata.normalize("NFKC", token.lower())
                assert not any(
                    is_accepted(twin) for twin in twins if unicodedata.normalize("NFKC", twin.lower()) == folded
                )


@pytest.mark.parametrize("name", FORMATS)
def test_a_refused_token_is_never_written(tmp_path: Path, name: str, count_cases: CaseCounter) -> None:
    vectors = VECTORS["sdxl" if name == "sdxl" else "one encoder"]
    for _ in range(count_cases.scaled(300)):
        token = random_token(count_cases.rng)
        with count_cases.case(repr(token)):
            try:
                check_writable_token(token, "placeholder_token")
            except UserError:
                with pytest.raises(UserError, match="placeholder_token="):
                    write(tmp_path / "x", LearnedEmbedding(token, vectors), name)
    assert not any(tmp_path.iterdir())
