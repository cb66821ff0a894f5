"""The groups of conf/: every option composes and fits its target."""

import re

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from tests.composing import groups
from tinv.config.signatures import signature
from tinv.config.validate import CONF_DIR, check, find_problems
from tinv.toybox import CONCEPTS

EXPERIMENTS = sorted(path.stem for path in (CONF_DIR / "experiment").glob("*.yaml"))
FILES = sorted(CONF_DIR.rglob("*.yaml"))
APART = ("extra_concept", "experiment", "recipe", "debug", "hydra")  # chosen with a plus, or Hydra's own
GROUPS = sorted(path.name for path in CONF_DIR.iterdir() if path.is_dir() and path.name not in APART)
LAID_OVER = {"memory"}  # sets what the other groups have
OPTIONS = {group: sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml")) for group in GROUPS}
FILLED = [
    "concept.placeholder_token=new-word",
    "concept.initializer_token=toy",
    "data.folder=images",
    "model.pretrained=folder",
]


@pytest.mark.parametrize("mode", ["run", "multirun"])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_resolves(compose, tmp_path, experiment, mode):
    own = "folder: ???" in (CONF_DIR / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8")
    typed = [f"+experiment={experiment}", *(["data.folder=images"] if own else [])]
    cfg = compose(*typed) if mode == "run" else check(groups().compose(typed, output_dir=str(tmp_path), multirun=True))
    assert cfg.name == experiment
    assert cfg.paths.output_dir == str(tmp_path)
    assert not OmegaConf.missing_keys(cfg)


@pytest.mark.parametrize("debug", sorted(path.stem for path in (CONF_DIR / "debug").glob("*.yaml")))
def test_every_debug_option_composes_with_an_experiment(compose, debug):
    assert compose("+experiment=cat_toy", f"+debug={debug}").name == "cat_toy"


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (CONF_DIR / "recipe").glob("*.yaml")))
@pytest.mark.parametrize("experiment", ["cat_toy", "cat_toy_sd15", "toybench"])
def test_a_recipe_sets_duration_and_optimization_of_any_experiment(compose, experiment, recipe):
    cfg, alone = compose(f"+experiment={experiment}", f"+recipe={recipe}"), compose(f"+recipe={recipe}", *FILLED)
    for setting in (
        "trainer.max_steps",
        "trainer.accumulate_grad_batches",
        "data.batch_size",
        "loss",
        "optimizer",
        "scheduler",
    ):
        assert OmegaConf.select(cfg, setting) == OmegaConf.select(alone, setting), setting
    assert cfg.data.folder != alone.data.folder


def test_the_loss_of_the_quick_recipe_can_be_overridden(compose):
    quick = ("+experiment=cat_toy", "+recipe=quick")
    assert compose(*quick).loss.snr_power == 0.5
    assert compose(*quick, "loss=mse").loss.snr_power == 0


@pytest.mark.parametrize("turn", range(max(map(len, OPTIONS.values()))))
def test_every_option_of_every_group_fits_its_target(compose, turn):
    choices = [f"{group}={options[turn % len(options)]}" for group, options in OPTIONS.items()]
    choices = ["concept=toybench" if "data=toybench" in choices and c.startswith("concept=") else c for c in choices]
    required = {"model", *({"data"} if {"data=folder", "data=hub"} & set(choices) else ())}
    required |= {"concept"} - ({"concept"} if "concept=toybench" in choices else set())
    filled = [override for override in FILLED if override.partition(".")[0] in required]
    if "concept=toybench" in choices:
        filled.append("concept.name=lime_cat")
    if "scheduler=text" in choices:
        filled.append("scheduler.schedule=1e-3")
    cfg = compose(*choices, *filled)
    assert all(cfg[group] is not None for group in OPTIONS if group not in LAID_OVER)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(CONF_DIR).as_posix())
def test_targets_of_tinv_accept_no_unknown_keys(path):
    tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    for node in [tree, *(v for v in tree.values() if isinstance(v, dict))]:
        if str(node.get("_target_", "")).startswith("tinv."):
            assert not signature(node["_target_"]).open_ended


def test_experiment_and_debug_are_not_in_the_defaults_list():
    text = (CONF_DIR / "config.yaml").read_text(encoding="utf-8")
    listed = [next(iter(entry)) for entry in yaml.safe_load(text)["defaults"] if isinstance(entry, dict)]
    assert sorted(listed) == GROUPS


def test_only_config_yaml_refers_to_the_model():
    for path in FILES:
        for line in path.read_text(encoding="utf-8").splitlines():
            if "${model}" in line:
                assert (path.name, line.strip()) == ("config.yaml", "model: ${model}")


def test_the_sweep_folder_does_not_depend_on_late_interpolations():
    tree = yaml.safe_load((CONF_DIR / "config.yaml").read_text(encoding="utf-8"))
    assert "${hydra:" not in tree["hydra"]["sweep"]["dir"]


def test_the_name_has_a_default_so_that_every_run_has_a_folder():
    bare = groups().compose([])
    problems = find_problems(bare)
    HydraConfig.instance().cfg = None
    assert bare.name == "untitled"
    assert {p.text.partition(":")[0] for p in problems} == {
        "concept.placeholder_token",
        "concept.initializer_token",
        "data.folder",
    }


def test_the_command_line_overrides_everything(compose):
    assert compose("+experiment=cat_toy", "trainer.max_steps=7").trainer.max_steps == 7


def test_a_callback_can_be_configured_or_removed(compose):
    cfg = compose("+experiment=cat_toy", "~callbacks.samples", "callbacks.export.every_n_steps=7")
    assert "samples" not in cfg.callbacks
    assert cfg.callbacks.export.every_n_steps == 7
    assert compose("+experiment=cat_toy", "callbacks=none").callbacks == {}


def test_the_run_card_is_the_first_callback_and_checkpoints_come_before_signals(compose):
    names = list(compose("+experiment=cat_toy").callbacks)
    assert (names[0], *names[-4:]) == ("run_card", "checkpoints", "requests", "stop_on_signal", "slurm_requeue")


def test_the_published_recipe(compose):
    """`textual_inversion.py` with the flags of diffusers' README and its documentation, and its defaults."""
    cfg = compose("+experiment=cat_toy_sd15")
    assert cfg.model.pretrained == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert re.fullmatch(r"[0-9a-f]{40}", cfg.model.revision)
    assert cfg.data.folder.startswith("hf://datasets/diffusers/cat_toy_example")
    assert (cfg.data.resolution, cfg.data.fit, cfg.data.flip, cfg.data.captions) == (512, "squash", True, "templates")
    assert (cfg.data.batch_size, cfg.trainer.accumulate_grad_batches, cfg.trainer.max_steps) == (1, 4, 3000)
    concept = cfg.concept
    assert (concept.placeholder_token, concept.initializer_token, concept.kind) == ("<cat-toy>", "toy", "object")
    assert (cfg.optimizer.lr, cfg.scale_lr, cfg.embedding.num_vectors) == (5e-4, True, 1)
    assert (list(cfg.optimizer.betas), cfg.optimizer.eps, cfg.optimizer.weight_decay) == ([0.9, 0.999], 1e-8, 0)
    assert cfg.scheduler._target_.endswith("get_constant_schedule")
    samples = cfg.callbacks.samples
    assert (samples.prompts, len(samples.seeds), samples.every_n_steps) == (["A {} backpack"], 4, 100)
    assert (samples.num_inference_steps, samples.guidance_scale) == (25, None)
    assert (cfg.callbacks.checkpoints.every_n_steps, cfg.callbacks.export.every_n_steps) == (500, 500)


def test_the_published_recipe_for_sdxl(compose):
    cfg = compose("+experiment=cat_toy_sdxl")
    assert cfg.model.pretrained == "stabilityai/stable-diffusion-xl-base-1.0"
    assert (cfg.data.resolution, cfg.data.batch_size, cfg.trainer.accumulate_grad_batches) == (1024, 1, 4)
    assert (cfg.trainer.max_steps, cfg.model.dtype) == (500, "bfloat16")
    assert (cfg.optimizer.lr, cfg.scale_lr, cfg.optimizer.weight_decay) == (5e-4, True, 0)
    assert (cfg.concept.placeholder_token, cfg.concept.initializer_token) == ("<cat-toy>", "toy")


def test_every_concept_of_the_toybox_has_an_experiment():
    names = {path.name for path in CONCEPTS.glob("*/")}
    assert names <= set(EXPERIMENTS)
    assert {path.stem for path in (CONF_DIR / "data").glob("toybox_*.yaml")} == {f"toybox_{name}" for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(CONF_DIR).as_posix())
def test_files_are_tidy(path):
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    assert "\t" not in text
    assert not re.search(r" +$", text, flags=re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 120
