"""Tokens with parts: which part a conditioning slot selects, and the captions that result."""

import pytest
import torch

from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError
from tinv.token_parts import (
    MAX_STAGES,
    ConditioningSlot,
    SlotLayout,
    expand_parts,
    mentioned,
    num_stages,
    part_at,
    parts,
    select_part,
    stage_names,
    stage_of,
)

ORDINARY = {"clip_l": torch.ones(1, 4)}


def staged(stages: int, num_vectors: int = 1) -> dict[str, torch.Tensor]:
    return {f"clip_l/{name}": torch.full((num_vectors, 4), float(i)) for i, name in enumerate(stage_names(stages))}


@pytest.mark.parametrize("stages", [1, 2, 4, 5, 10, 20])
def test_stages_divide_the_timesteps_evenly(stages):
    t = torch.arange(1000)
    assert torch.equal(stage_of(t, stages, 1000), t // (1000 // stages))


def test_timesteps_of_schedulers_between_and_beyond_the_schedules_have_stages():
    assert stage_of(torch.tensor([99.99, 100.0, 999.0, 1000.0, -1.0]), 10, 1000).tolist() == [0, 1, 9, 9, 0]


@pytest.mark.parametrize("counts", [(4, 10), (3, 7), (1, 6)])
def test_a_joint_layout_keeps_the_stages_of_every_token(counts):
    tokens = [staged(count) if count > 1 else ORDINARY for count in counts]
    layout = SlotLayout.of(tokens)
    for t in range(0, 1000, 7):
        slot = layout.slots()[stage_of(torch.tensor(t), layout.stages, 1000)]
        for names, stages in zip(tokens, counts, strict=True):
            assert part_at(names, slot) == (f"stage.{t * stages // 1000}" if stages > 1 else "")


def test_parts_are_listed_in_the_order_of_the_names():
    assert parts(staged(12)) == stage_names(12)
    assert (num_stages(stage_names(12)), num_stages(())) == (12, 1)
    assert stage_names(1) == () == parts(ORDINARY)


def test_each_part_becomes_an_ordinary_token_and_other_text_stays():
    vectors = {"<cat>": staged(12), "sks": staged(4), "<dog>": ORDINARY}
    captions = ["a <CAT>s and a <dog>, asks sks", "a <cat> a <cat>"]
    texts, expanded = expand_parts(vectors, captions, [ConditioningSlot(1, 12), ConditioningSlot(11, 12)])
    assert len(expanded) == 12 + 4 + 1 and expanded["<dog>"] is not vectors["<dog>"]
    first, second = (next(name for name in expanded if f"<cat>/stage.{n}\ue001" in name) for n in (1, 11))
    third = next(name for name in expanded if "sks/stage.0" in name)
    assert texts == [f"a {first}s and a <dog>, asks {third}", f"a {second} a {second}"]
    assert torch.equal(expanded[second]["clip_l"], torch.full((1, 4), 11.0))


def test_only_unmentioned_tokens_with_parts_are_left_out():
    vectors = {"<cat>": staged(3), "<dog>": ORDINARY, "sks": staged(3)}
    assert list(mentioned(vectors, ["he asks", "a <Cat>"])) == ["<cat>", "<dog>"]


def test_a_part_or_the_mean_of_all_is_selected_as_an_ordinary_token():
    vectors = staged(4, num_vectors=2)
    assert torch.equal(select_part(vectors, "stage.3")["clip_l"], torch.full((2, 4), 3.0))
    assert torch.equal(select_part(vectors, "mean")["clip_l"], torch.full((2, 4), 1.5))


@pytest.mark.parametrize("stages", [0, MAX_STAGES + 1])
def test_the_number_of_stages_is_limited(stages):
    with pytest.raises(UserError, match=r"embedding\.timestep_stages"):
        EmbeddingConfig(timestep_stages=stages)
