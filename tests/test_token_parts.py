"""Words that have parts: which part a place means, and what a caption then says."""

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


def word(stages: int, num_vectors: int = 1) -> dict[str, torch.Tensor]:
    return {f"clip_l/{name}": torch.full((num_vectors, 4), float(i)) for i, name in enumerate(stage_names(stages))}


@pytest.mark.parametrize("stages", [1, 2, 4, 5, 10, 20])
def test_a_timestep_is_in_the_stage_of_its_share_of_the_schedule(stages):
    t = torch.arange(1000)
    assert torch.equal(stage_of(t, stages, 1000), t // (1000 // stages))


def test_timesteps_of_solvers_between_and_beyond_the_schedules_have_stages_too():
    assert stage_of(torch.tensor([99.99, 100.0, 999.0, 1000.0, -1.0]), 10, 1000).tolist() == [0, 1, 9, 9, 0]


@pytest.mark.parametrize(("some", "others"), [(4, 10), (3, 7), (1, 6)])
def test_words_with_other_stages_keep_their_own_in_a_joint_spread(some, others):
    words = [word(some) if some > 1 else {"clip_l": torch.zeros(1, 4)}, word(others)]
    spread = SlotLayout.of(words)
    for t in range(0, 1000, 7):
        place = spread.places()[stage_of(torch.tensor(t), spread.stages, 1000)]
        for rows, stages in zip(words, (some, others), strict=True):
            assert part_at(rows, place) == (f"stage.{t * stages // 1000}" if stages > 1 else "")


def test_parts_are_told_from_the_names_in_their_order():
    assert parts(word(12)) == stage_names(12)
    assert (num_stages(stage_names(12)), num_stages(())) == (12, 1)
    assert stage_names(1) == () == parts({"clip_l": torch.zeros(1, 4)})


def test_each_part_becomes_a_word_of_its_own_and_other_text_stays():
    words = {"<cat>": word(12), "sks": word(4), "<dog>": {"clip_l": torch.ones(1, 4)}}
    captions = ["a <CAT>s and a <dog>, asks sks", "a <cat> a <cat>"]
    texts, plain = expand_parts(words, captions, [ConditioningSlot(1, 12), ConditioningSlot(11, 12)])
    assert len(plain) == 12 + 4 + 1 and plain["<dog>"] is not words["<dog>"]
    first, second = (next(name for name in plain if f"<cat>/stage.{n}\ue001" in name) for n in (1, 11))
    third = next(name for name in plain if "sks/stage.0" in name)
    assert texts == [f"a {first}s and a <dog>, asks {third}", f"a {second} a {second}"]
    assert torch.equal(plain[second]["clip_l"], torch.full((1, 4), 11.0))


def test_words_with_parts_that_nobody_says_are_left_out_and_ordinary_ones_stay():
    words = {"<cat>": word(3), "<dog>": {"clip_l": torch.ones(1, 4)}, "sks": word(3)}
    assert list(mentioned(words, ["he asks", "a <Cat>"])) == ["<cat>", "<dog>"]


def test_one_part_or_the_mean_of_all_is_an_ordinary_word():
    rows = word(4, num_vectors=2)
    assert torch.equal(select_part(rows, "stage.3")["clip_l"], torch.full((2, 4), 3.0))
    assert torch.equal(select_part(rows, "mean")["clip_l"], torch.full((2, 4), 1.5))


@pytest.mark.parametrize("stages", [0, MAX_STAGES + 1])
def test_more_stages_than_a_file_holds_are_refused(stages):
    with pytest.raises(UserError, match=r"embedding\.stages must be 1 to 30"):
        EmbeddingConfig(timestep_stages=stages)
