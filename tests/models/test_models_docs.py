"""docs/models.md: its line of code for diffusers does what the page says."""

import copy
import re

import torch

from tests.conftest import ROOT
from tests.models.published import published
from tests.models.test_sdxl import WORD, encoded, ours, rows, with_words

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def test_the_line_for_diffusers_moves_the_pooled_vector_to_the_end():
    (line,) = re.findall(r"^\s*(pipe\.\S+ = \S+)$", PAGE, flags=re.MULTILINE)
    pipe = with_words(copy.deepcopy(published("sdxl")), rows())
    pooled = ours(published("sdxl")).encode_text([WORD], rows()).pooled
    assert not torch.equal(encoded(pipe, [WORD])[1], pooled)
    exec(line, {"pipe": pipe})
    assert torch.equal(encoded(pipe, [WORD])[1], pooled)
