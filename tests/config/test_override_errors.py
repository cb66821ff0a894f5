"""Every wrong override is reported at once, each with a remedy."""

import pytest
from hydra.core.hydra_config import HydraConfig

from tests.composing import groups
from tinv.config.compose import Groups
from tinv.config.override_errors import find_problems

CAT = "+experiment=cat_toy"


@pytest.fixture(autouse=True)
def _reset_hydra_config():
    yield
    HydraConfig.instance().cfg = None


def problems_of(overrides, **options):
    return [problem.text for problem in find_problems(groups(), overrides, **options)]


@pytest.mark.parametrize(
    "remedies",
    [
        {"+experiment=cat_toi": "there is no experiment cat_toi (did you mean cat_toy?)"},
        {"experiment=cat_toy": "is added, not replaced; write +experiment=cat_toy"},
        {
            CAT: "",
            "optimizer=adamv": "there is no optimizer adamv (did you mean adamw?)",
            "data=5": "there is no data 5 (there are folder, ",
            "loss=null": "there is no loss null (there are cosmap, debiased, min_snr, mse, sigma_sqrt)",
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
            "optimizer.amsgrad=true": "is not in the YAML, but can be added; write +optimizer.amsgrad=true",
            "+optimizer.lr=1": "is set already; write optimizer.lr=1",
            "optimizer.lr.x=1": "optimizer.lr has no settings below it",
            "~callbacks.sample": "there is no callbacks.sample (did you mean callbacks.samples?)",
        },
        {
            CAT: "",
            "optimizer.lr": "has no value; write setting=value",
            "=5": "names no setting; write setting=value",
            "name=x(1": "has characters that need quotes; write \"name='x(1'\"",
            "concept.placeholder_token=<x>": "write \"concept.placeholder_token='<x>'\"",
            "seed=1,2": "several values need -m (one run for each); a list is seed=[1,2]",
        },
        {  # keys of other programs, and a group called by another name
            CAT: "",
            "lr=1e-3": "there is no lr (did you mean optimizer.lr?)",
            "steps=100": "there is no steps (did you mean trainer.max_steps?)",
            "num_vectors=2": "there is no num_vectors (did you mean embedding.num_vectors?)",
            "placeholder=x": "there is no placeholder (did you mean concept.placeholder_token?)",
            "guidance=3": "there is no guidance (did you mean embedding.guidance_scale or callbacks.samples.guidance_",
            "objective=debiased": "there is no objective (did you mean loss=debiased?)",
            "stop=dvar": "there is no stop (did you mean early_stopping=dvar?)",
        },
    ],
)
def test_every_wrong_override_is_reported_with_its_remedy(remedies):
    problems = problems_of(list(remedies))
    for override, remedy in remedies.items():
        assert not remedy or any(text.startswith(f"{override}: ") and remedy in text for text in problems), problems
    assert len(problems) == sum(map(bool, remedies.values())), "nothing else is reported"


def test_valid_overrides_are_checked_beside_wrong_ones():
    problems = problems_of([CAT, "optimizer.lrr=1", "+optimizer.lrs=1", "embedding.num_vectors=x"])
    assert [text.partition(":")[0] for text in problems] == [
        "optimizer.lrr=1",
        "embedding.num_vectors='x'",
        "optimizer.lrs",
    ]


def test_a_valid_command_has_no_problems():
    assert not problems_of([CAT, "+debug=fast", "optimizer.lr=1e-3", "~callbacks.samples", "callbacks=[export]"])


@pytest.mark.parametrize(
    ("overrides", "problems"),
    [
        ([CAT, "seed=1,x"], ["seed='x': must be int"]),
        (
            ["+experiment=cat_toy,cat_toi"],
            ["+experiment=cat_toi: there is no experiment cat_toi (did you mean cat_toy?)"],
        ),
        ([CAT, "seed=range(3)", "optimizer.lr=choice(1e-3,fast)"], ["optimizer.lr='fast': must be float"]),
        ([CAT, "optimizer.lr=interval(1e-4,1e-2)"], []),
        (["+experiment=glob(cat*)"], []),
    ],
)
def test_every_point_of_a_sweep_is_checked(overrides, problems):
    assert problems_of(overrides, multirun=True) == problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("defaults: [cat_toy]\noptimizer: {lrr: 1}", "optimizer.lrr: AdamW takes no such argument (did you mean lr?)"),
        ("defaults: [cat_toy]\noptimiser: {lr: 1}", "optimiser: there is no such group or setting (did you mean opti"),
        (
            "defaults: [{override /optimizer: adamv}]",
            "+experiment=mine: there is no optimizer adamv (did you mean adam",
        ),
        ("name: [a\nseed: 3", "+experiment=mine: not valid YAML: "),
        ("defaults: [cat_toy]\nseed: ${nowhere}", "seed: Interpolation key 'nowhere' not found"),
    ],
)
def test_problems_in_a_file_are_reported(tmp_path, text, problem):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
    (reported,) = find_problems(Groups(str(tmp_path)), ["+experiment=mine"])
    assert reported.text.startswith(problem)
