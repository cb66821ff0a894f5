"""Identifiers are the field's terms (CONTRIBUTING.md): none comes from the project's former private language."""

import io
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("tinv", "tests", "bench", "sweep")
PARTICIPLES = "told said shown begun kept known found heard held taken asked wanted given"
SMALL_WORDS = "says stands standing place places chance one both these whole rest"
METAPHORS = (
    "lesson lessons shelf thrift rehearsal campaign ledger vitals tower towers eyes deck deal cards lens door foresee"
)
OTHER_TERMS = "picture pictures"
"""The field says image."""
PRIVATE = frozenset(f"{PARTICIPLES} {SMALL_WORDS} {METAPHORS} {OTHER_TERMS}".split())
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def private_names(text: str) -> set[str]:
    """The identifiers of a Python source that are, without underscores and case, one of the private words."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    names = {token.string for token in tokens if token.type == tokenize.NAME}
    return {name for name in names if name.strip("_").lower() in PRIVATE}


@pytest.mark.parametrize("path", FILES, ids=[path.relative_to(ROOT).as_posix() for path in FILES])
def test_identifiers_are_the_fields_terms(path):
    names = private_names(path.read_text(encoding="utf-8"))
    assert not names, f"rename {', '.join(sorted(names))}: say what they hold, in the words of diffusers and Lightning"


def test_a_private_name_is_noticed():
    assert private_names("_told = kept.shown\nfound_files = 1  # said\n") == {"_told", "kept", "shown"}
