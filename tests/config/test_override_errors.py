"""Whatever is typed wrongly is named, with its remedy, all of it at once."""

import pytest
from hydra.core.hydra_config import HydraConfig

from tests.composing import groups
from tinv.config.compose import Groups
from tinv.config.override_errors import find_problems

CAT = "+experiment=cat_toy"


@pytest.fixture(autouse=True)
def _nothing_left_in_hydra():
    yield
    HydraConfig.instance().cfg = None


@pytest.mark.parametrize(
    "typed",
    [
        {"+experiment=cat_toi": "there is no experiment cat_toi (did you mean cat_toy?)"},
        {"experiment=cat_toy": "is added, not replaced; write +experiment=cat_toy"},
        {
            CAT: "",
            "optimizer=adamv": "there is no optimizer adamv (did you mean adamw?)",
            "data=5": "there is no data 5 (there are folder, ",
            "objective=null": "there is no objective null (there are debiased, min_snr, plain)",
            "+scheduler=cosine": "scheduler is chosen already; write scheduler=cosine",
        },
        {
            "+recipe=published": "the experiment after it would undo it; write it after +experiment=cat_toy",
            "+debug=fast": "the experiment after it would undo it; write it after +experiment=cat_toy",
            CAT: "",
        },
        {
            CAT: "",
            "optimiser.lr=1": "there is no optimiser (did you mean optimizer?)",
            "optimiser=adamw": "there is no optimiser (did you mean optimizer?)",
            "optimizer.lrr=1": "there is no optimizer.lrr (did you mean optimizer.lr?)",
            "optimizer.amsgrad=true": "is not in the YAML yet, but can be added; write +optimizer.amsgrad=true",
            "+optimizer.lr=1": "is set already; write optimizer.lr=1",
            "optimizer.lr.x=1": "optimizer.lr has nothing below it",
            "~callbacks.sample": "there is no callbacks.sample (did you mean callbacks.samples?)",
        },
        {
            CAT: "",
            "optimizer.lr": "has no value; write setting=value",
            "=5": "names no setting; write setting=value",
            "name=x(1": "has characters that need quotes; write \"name='x(1'\"",
            "concept.placeholder_token=<x>": "write \"concept.placeholder_token='<x>'\"",
            "seed=1,2": "several values need -m (a run for each); one list is seed=[1,2]",
        },
    ],
)
def test_every_override_that_does_not_fit_is_named_with_its_remedy(typed):
    found = [problem.text for problem in find_problems(groups(), list(typed))]
    for override, remedy in typed.items():
        assert not remedy or any(text.startswith(f"{override}: ") and remedy in text for text in found), found
    assert len(found) == sum(map(bool, typed.values())), "no more is said than what is wrong"


def test_what_fits_is_checked_even_if_something_else_does_not_fit():
    found = [
        p.text for p in find_problems(groups(), [CAT, "optimizer.lrr=1", "+optimizer.lrs=1", "embedding.num_vectors=x"])
    ]
    assert [text.partition(":")[0] for text in found] == ["optimizer.lrr=1", "embedding.num_vectors", "optimizer.lrs"]


def test_nothing_is_found_wrong_with_a_good_command():
    assert (
        find_problems(groups(), [CAT, "+debug=fast", "optimizer.lr=1e-3", "~callbacks.samples", "callbacks=[export]"])
        == []
    )


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([CAT, "seed=1,x"], ["seed: must be int, got 'x'"]),
        (
            ["+experiment=cat_toy,cat_toi"],
            ["+experiment=cat_toi: there is no experiment cat_toi (did you mean cat_toy?)"],
        ),
        ([CAT, "seed=range(3)", "optimizer.lr=choice(1e-3,fast)"], ["optimizer.lr: must be float, got 'fast'"]),
        ([CAT, "optimizer.lr=interval(1e-4,1e-2)"], []),
        (["+experiment=glob(cat*)"], []),
    ],
)
def test_every_point_of_a_sweep_is_looked_at(typed, said):
    assert [problem.text for problem in find_problems(groups(), typed, multirun=True)] == said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "defaults: [cat_toy]\noptimizer: {lrr: 1}\n",
            "optimizer.lrr: AdamW takes no such argument (did you mean lr?)",
        ),
        (
            "defaults: [cat_toy]\noptimiser: {lr: 1}\n",
            "optimiser: there is no such group or setting (did you mean opti",
        ),
        (
            "defaults: [{override /optimizer: adamv}]\n",
            "+experiment=mine: there is no optimizer adamv (did you mean adam",
        ),
        ("name: [a\nseed: 3\n", "+experiment=mine: is no YAML: "),
        ("defaults: [cat_toy]\nseed: ${nowhere}\n", "seed: Interpolation key 'nowhere' not found"),
    ],
)
def test_mistakes_in_a_file_are_named_too(tmp_path, text, expected):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}")
    (found,) = find_problems(Groups(str(tmp_path)), ["+experiment=mine"])
    assert found.text.startswith(expected)
