"""The printed command composes, and does what the flags said: for every flag, and for any of them together."""

import random
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

import tinv
from tests import composing
from tinv.config.compose import Groups
from tinv.config.validate import check
from tinv.from_diffusers import Translation, read, translate, understand
from tinv.from_diffusers.command_line import flags_of
from tinv.from_diffusers.flag import FILE_NAMES, SCRIPTS, Flag, Script
from tinv.from_diffusers.flags import FLAGS

NEEDED = {flag.name: flag.example for flag in FLAGS if flag.required}
PUBLISHED = """
export MODEL_NAME="stable-diffusion-v1-5/stable-diffusion-v1-5"
export DATA_DIR="./cat"

accelerate launch textual_inversion.py --pretrained_model_name_or_path=$MODEL_NAME --train_data_dir=$DATA_DIR \\
  --learnable_property="object" --placeholder_token="<cat-toy>" --initializer_token="toy" --resolution=512 \\
  --train_batch_size=1 --gradient_accumulation_steps=4 --max_train_steps=3000 --learning_rate=5.0e-04 --scale_lr \\
  --lr_scheduler="constant" --lr_warmup_steps=0 --output_dir="textual_inversion_cat"
"""
OPTIONAL = [flag for flag in FLAGS if not flag.required]
SAME = {  # flag -> the setting that has its very value
    "train_data_dir": "data.folder",
    "initializer_token": "concept.initializer_token",
    "repeats": "data.repeats",
    "resolution": "data.resolution",
    "max_train_steps": "trainer.max_steps",
    "train_batch_size": "data.batch_size",
    "gradient_accumulation_steps": "trainer.accumulate_grad_batches",
    "learning_rate": "optimizer.lr",
    "adam_weight_decay": "optimizer.weight_decay",
    "adam_epsilon": "optimizer.eps",
    "dataloader_num_workers": "data.num_workers",
    "save_steps": "callbacks.export.every_n_steps",
    "checkpointing_steps": "callbacks.checkpoints.every_n_steps",
    "checkpoints_total_limit": "callbacks.checkpoints.total_limit",
    "num_vectors": "embedding.num_vectors",
    "revision": "model.revision",
    "variant": "model.variant",
    "tokenizer_name": "model.tokenizer",
    "gradient_checkpointing": "model.gradient_checkpointing",
    "allow_tf32": "model.tf32",
    "scale_lr": "scale_lr",
    "push_to_hub": "hub.push",
    "hub_model_id": "hub.repo_id",
    "num_vec_per_token": "embedding.num_vectors",
}


@pytest.fixture(scope="module")
def groups() -> Groups:
    return composing.groups()


def command(script: Script, values: dict[str, Any], chance: random.Random | None = None) -> list[str]:
    """The words of a command, each flag in one of its two forms."""
    words = [FILE_NAMES[script]]
    for name, value in values.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not False and value is not None:
            words += [f"--{name}={value}"] if chance and chance.random() < 0.5 else [f"--{name}", str(value)]
    return words


def printed(translation: Translation) -> list[str]:
    """The settings as a shell would hand them over."""
    words = shlex.split(str(translation).replace("\\\n", ""))
    assert words[:2] == ["python", "train.py"]
    return words[2:]


def composed(words: list[str], groups: Groups) -> DictConfig:
    """The settings of the run, checked as train.py checks them."""
    cfg = check(groups.compose(printed(translate(understand(words), groups))))
    HydraConfig.instance().cfg = None
    return cfg


def flat(tree: DictConfig) -> dict[str, Any]:
    """Every setting by its whole name."""
    found: dict[str, Any] = {}
    nodes = [("", OmegaConf.to_container(tree, resolve=True))]
    for path, node in nodes:
        for key, value in node.items():
            if isinstance(value, dict):
                nodes.append((f"{path}{key}.", value))
            else:
                found[f"{path}{key}"] = value
    return found


def any_value(flag: Flag, chance: random.Random) -> Any:
    if flag.choices:
        return chance.choice(flag.choices)
    if flag.kind is bool:
        return True
    if flag.name == "num_validation_images":
        return chance.choice([1, 2, 7])  # a seed each: Hydra takes seconds to read a list of thousands
    if flag.kind is int:
        return chance.choice([1, 2, 7, 500, 4096])
    if flag.kind is float:
        return chance.choice([0.0, 1e-8, 5e-4, 0.25, 0.999])
    if flag.name == "report_to":
        return chance.choice(["tensorboard", "wandb", "all", "none", "comet_ml"])
    if flag.name == "resume_from_checkpoint":
        return chance.choice(["latest", "checkpoint-12", "/somewhere/checkpoint-0500/"])
    if flag.name == "hub_token":
        return "hf_SECRET"
    return chance.choice(
        ["plain", "two words", "<cat-toy>", "a=b,[c]", 'it\'s "so"', "/abs/o lute/", "C:\\x", "é", "{x}"]
    )


@pytest.mark.parametrize("seed", range(24))
def test_any_flags_together_give_a_command_that_composes_and_says_the_same(seed, groups):
    chance = random.Random(seed)
    script = SCRIPTS[seed % len(SCRIPTS)]
    flags = flags_of(script)
    chosen = [flag for flag in flags if flag.required or chance.random() < chance.choice([0.1, 0.5, 0.9])]
    values = {flag.name: any_value(flag, chance) for flag in chosen}
    words = command(script, values, chance)
    cfg = composed(words, groups)
    assert understand(words).values.items() >= values.items()
    for flag in flags:
        if flag.name in SAME:
            assert OmegaConf.select(cfg, SAME[flag.name]) == values.get(flag.name, flag.default_of(script)), flag.name
    assert "SECRET" not in str(translate(understand(words), groups))


@pytest.mark.parametrize("flag", OPTIONAL, ids=lambda flag: flag.name)
def test_every_flag_changes_a_setting_or_says_why_not(flag, groups):
    script = flag.scripts[0]
    value = False if flag.example == flag.default_of(script) else flag.example
    without, given = (
        translate(understand(command(script, NEEDED | dict(flag.beside) | more)), groups)
        for more in ({}, {flag.name: value})
    )
    if value is not False:
        assert without.overrides != given.overrides or len(given.notes) > len(without.notes)


def test_the_published_recipe(groups):
    words = read(PUBLISHED)
    cfg = composed(words, groups)
    assert (cfg.model.pretrained, cfg.data.folder) == ("stable-diffusion-v1-5/stable-diffusion-v1-5", "./cat")
    assert (cfg.concept.placeholder_token, cfg.concept.initializer_token, cfg.concept.kind) == (
        "<cat-toy>",
        "toy",
        "object",
    )
    assert (cfg.data.resolution, cfg.data.batch_size, cfg.data.fit, cfg.data.flip) == (512, 1, "squash", True)
    assert (cfg.trainer.max_steps, cfg.trainer.accumulate_grad_batches, cfg.trainer.precision) == (3000, 4, "32-true")
    assert (cfg.optimizer.lr, cfg.optimizer.weight_decay, list(cfg.optimizer.betas)) == (5e-4, 1e-2, [0.9, 0.999])
    assert (cfg.name, cfg.paths.root_dir) == ("textual_inversion_cat", ".")
    assert "num_warmup_steps" not in cfg.scheduler
    assert "samples" not in cfg.callbacks


def test_the_shipped_recipe_is_the_published_command(groups):
    words = read(PUBLISHED)
    drawn = ["--validation_prompt=A <cat-toy> backpack", "--validation_steps=100", "--num_validation_images=4"]
    ours, theirs = flat(groups.compose(["+experiment=cat_toy_sd15"])), flat(composed([*words, *drawn], groups))
    apart = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    roots = {"model", "name", "paths", "data", "concept", "optimizer", "logger", "module", "hub"}
    assert {key.partition(".")[0] for key in apart} <= roots
    named = {key for key in apart if not key.startswith(("module.", "logger.tensorboard.", "paths."))}
    assert named == {"model.revision", "name", "hub.name", "data.folder", "data.repeats", "optimizer.weight_decay"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_script_s_own_defaults_are_kept(script, groups):
    cfg = composed(command(script, NEEDED), groups)
    assert (cfg.data.batch_size, cfg.trainer.max_steps, cfg.optimizer.lr) == (16, 5000, 1e-4)
    assert (cfg.data.resolution, cfg.data.flip, cfg.data.fit) == (512, True, "squash")
    assert (cfg.optimizer.weight_decay, cfg.optimizer.eps) == (1e-2, 1e-8)
    assert cfg.seed == (42 if script == "flax" else 0)


def test_what_tinv_does_anyway_is_not_said(groups):
    said = translate(
        understand(command("sd", NEEDED | {"seed": 0, "lr_scheduler": "constant", "save_steps": 500})), groups
    )
    keys = {text.partition("=")[0] for text in said.overrides}
    assert not keys & {"seed", "concept", "scheduler", "callbacks.export.every_n_steps", "optimizer.betas"}


@pytest.mark.parametrize(
    ("script", "given", "formats"),
    [
        ("sd", {}, ["diffusers"]),
        ("sd", {"save_as_full_pipeline": True}, ["diffusers", "pipeline"]),
        (
            "sd",
            {"save_as_full_pipeline": True, "no_safe_serialization": True},
            ["diffusers", "diffusers_bin", "pipeline"],
        ),
        ("multi_token", {"num_vec_per_token": 2}, ["diffusers", "pipeline"]),
        ("multi_token", {"only_save_embeds": True}, ["diffusers"]),
    ],
)
def test_three_flags_choose_the_files_together(script, given, formats, groups):
    assert composed(command(script, NEEDED | given), groups).callbacks.export.formats == formats


def test_warm_up_and_cycles_reach_the_schedules_that_have_them(groups):
    for name, group in (("cosine", "cosine"), ("polynomial", "polynomial"), ("constant_with_warmup", "constant")):
        cfg = composed(command("sd", NEEDED | {"lr_scheduler": name, "lr_warmup_steps": 7}), groups)
        assert cfg.scheduler.num_warmup_steps == 7
        assert group in cfg.scheduler._target_
    cfg = composed(command("sdxl", NEEDED | {"lr_scheduler": "cosine_with_restarts", "lr_num_cycles": 5}), groups)
    assert (cfg.scheduler.num_cycles, cfg.scheduler.num_warmup_steps) == (5, 500)
    assert "constant" in composed(command("flax", NEEDED | {"lr_scheduler": "cosine"}), groups).scheduler._target_


@pytest.mark.parametrize(
    ("given", "dtype", "precision"),
    [("no", "float32", "32-true"), ("fp16", "float16", "16-mixed"), ("bf16", "bfloat16", "32-true")],
)
def test_the_frozen_weights_are_of_the_script_s_precision(given, dtype, precision, groups):
    cfg = composed(command("sdxl", NEEDED | {"mixed_precision": given}), groups)
    assert (cfg.model.dtype, cfg.trainer.precision) == (dtype, precision)


def test_the_word_in_the_prompt_becomes_a_gap(groups):
    values = {"validation_prompt": "A <Cat-Toy> on a <cat-toy>", "num_validation_images": 3, "validation_steps": 9}
    for script in ("sd", "sdxl"):
        samples = composed(command(script, NEEDED | values), groups).callbacks.samples
        assert (samples.prompts, samples.seeds, samples.every_n_steps) == (["A {} on a {}"], [0, 1, 2], 9)
        assert samples.guidance == (7.5 if script == "sd" else 5.0)  # what diffusers' pipelines do unless told


@pytest.mark.parametrize(
    ("given", "name", "outputs"),
    [("out/my_cat", "my_cat", "out"), ("/data/x y/", "x_y", "/data"), (".", "untitled", "."), ("a", "a", ".")],
)
def test_the_output_folder_holds_the_runs(given, name, outputs, groups):
    cfg = composed(command("sd", NEEDED | {"output_dir": given}), groups)
    assert (cfg.name, cfg.paths.root_dir) == (name, outputs)


@pytest.mark.parametrize(
    ("given", "resume"), [("latest", "latest"), ("checkpoint-500", 500), ("/other/place/checkpoint-0012/", 12)]
)
def test_a_checkpoint_is_its_step(given, resume, groups):
    assert composed(command("sd", NEEDED | {"resume_from_checkpoint": given}), groups).resume == resume


def test_the_crop_that_the_sdxl_script_forgets_is_made_and_told(groups):
    for script, is_told in (("sd", False), ("sdxl", True)):
        said = translate(understand(command(script, NEEDED | {"center_crop": True})), groups)
        assert "data.fit=squash" not in said.overrides
        assert any("--center_crop: the SDXL script takes no notice" in note for note in said.notes) == is_told


def test_an_odd_placeholder_is_mended_and_told(groups):
    said = translate(understand(command("sd", NEEDED | {"placeholder_token": "<My Cat>"})), groups)
    assert 'concept.placeholder_token="<mycat>"' in said.overrides
    assert any("--placeholder_token: '<My Cat>' is written '<mycat>'" in note for note in said.notes)


def test_several_processes_become_ddp_in_the_script_s_precision(groups):
    front = [
        "CUDA_VISIBLE_DEVICES=2,3",
        "accelerate",
        "launch",
        "--num_processes=2",
        "--mixed_precision",
        "bf16",
        "--x",
    ]
    said = translate(understand([*front, *command("sd", NEEDED)]), groups)
    assert {"trainer=ddp", "trainer.devices=2", "trainer.precision=32-true"} <= set(said.overrides)
    assert str(said).startswith("CUDA_VISIBLE_DEVICES=2,3 python train.py \\\n")
    assert [note.partition(":")[0] for note in said.notes if "launcher" in note] == [
        "--mixed_precision of the launcher",
        "--x of the launcher",
    ]
    alone = translate(understand(["accelerate", "launch", "--num_processes=1", *command("sd", NEEDED)]), groups)
    assert "trainer=ddp" not in alone.overrides


def test_every_flag_that_is_dropped_or_differs_is_told_if_it_was_given(groups):
    for flag in FLAGS:
        if flag.differs:
            said = translate(understand(command(flag.scripts[0], NEEDED | {flag.name: flag.example})), groups)
            assert f"--{flag.name}: {flag.differs}" in said.notes
            silent = translate(understand(command(flag.scripts[0], NEEDED)), groups)
            assert f"--{flag.name}: {flag.differs}" not in silent.notes


def test_unknown_flags_are_named_with_what_was_meant(groups):
    said = translate(understand([*command("sd", NEEDED), "--lerning_rate=1", "--zzz"]), groups)
    told = [note for note in said.notes if "no such flag" in note]
    assert told == [
        "--lerning_rate: textual_inversion.py has no such flag (did you mean --learning_rate?); left out",
        "--zzz: textual_inversion.py has no such flag; left out",
    ]


def test_an_installed_tinv_is_called_by_its_own_name(groups, monkeypatch, tmp_path):
    said = translate(understand(command("sd", NEEDED)), groups)
    module = sys.modules["tinv.from_diffusers.translate"]
    for place, program in ((tmp_path / "tinv", "python train.py"), (Path(tinv.__file__).parent, "tinv-train")):
        monkeypatch.setattr(module, "CONF_DIR", place / "conf")
        assert str(said).startswith(f"{program} ")
