"""The table of all flags of diffusers' textual-inversion scripts (commit 58eb52c0, August 2026).

`tinv from-diffusers` translates with it, and `python -m tinv.from_diffusers.table` writes the tables of
docs/from-diffusers.md from it.
"""

from collections.abc import Mapping

from tinv.from_diffusers import rules
from tinv.from_diffusers.scripts import SCRIPTS, TORCH, Flag, Script

_SD: tuple[Script, ...] = ("sd",)
_XL: tuple[Script, ...] = ("sdxl",)
_SD_XL: tuple[Script, ...] = ("sd", "sdxl")
_MULTI: tuple[Script, ...] = ("multi_token",)
_SD_MULTI: tuple[Script, ...] = ("sd", "multi_token")
_PROMPT = {"validation_prompt": "A <cat-toy> backpack"}
_NO_EFFECT = "has no effect in the script"

# fmt: off
# Flag(name, kind, scripts, default, example, setting)
_CONCEPT = (
    Flag("pretrained_model_name_or_path", str, SCRIPTS, None, "stable-diffusion-v1-5/stable-diffusion-v1-5",
         rules.model, required=True, remark="a Hub id, a folder, or a single `.safetensors` or `.ckpt` file; "
         "`model=sd15`, `sd14`, `sd21`, `sdxl` name a model at a fixed revision; Flax weights are not supported"),
    Flag("revision", str, SCRIPTS, None, "main", rules.revision,
         remark="of every part of the model; the script ignores it for tokenizer, scheduler and saved pipeline"),
    Flag("variant", str, _SD_XL, None, "fp16", "model.variant",
         remark="also of the text encoders; the learned vectors are always float32"),
    Flag("tokenizer_name", str, ("sd", "flax", "multi_token"), None, "openai/clip-vit-large-patch14",
         "model.tokenizer"),
    Flag("placeholder_token", str, SCRIPTS, None, "<cat-toy>", rules.placeholder_token, required=True,
         remark="one word in lower case, as the tokenizer lower-cases prompts; a token of the vocabulary is refused"),
    Flag("initializer_token", str, SCRIPTS, None, "toy", rules.initializer_token, required=True,
         remark="one token, as in the script; `embedding.init` also takes a phrase, a mean, random vectors or a file"),
    Flag("learnable_property", str, SCRIPTS, "object", "style", rules.kind,
         remark="the same 27 and 19 caption templates; the script treats everything but `style` as an object"),
    Flag("num_vectors", int, _SD_XL, 1, 5, "embedding.num_vectors",
         remark="all vectors start equal, as in the script; `embedding.init_noise` separates them"),
    Flag("num_vec_per_token", int, _MULTI, 1, 5, "embedding.num_vectors",
         remark="an initializer of several tokens is distributed over the vectors: `embedding.init=phrase`"),
    Flag("progressive_tokens", bool, _MULTI, False, True, None,
         differs=f"{_NO_EFFECT}, which does not pass it to its data set; left out"),
    Flag("progressive_tokens_max_steps", int, _MULTI, 2000, 2000, None, differs=f"{_NO_EFFECT}; left out"),
    Flag("vector_shuffle", bool, _MULTI, False, True, None,
         differs=f"{_NO_EFFECT}, which does not pass it to its data set; left out"),
    Flag("train_data_dir", str, SCRIPTS, None, "./cat", "data.folder", required=True,
         remark="images are rotated as their EXIF data say; files that are not images are skipped with a warning"),
    Flag("repeats", int, SCRIPTS, 100, 100, "data.repeats",
         remark="affects only how evenly the images alternate: there are no epochs"),
    Flag("resolution", int, SCRIPTS, 512, 768, "data.resolution"),
    Flag("center_crop", bool, SCRIPTS, False, True, rules.fit,
         remark="without it the scripts distort images (`data.fit=squash`); the SDXL script distorts even with it"),
)
_TRAINING = (
    Flag("max_train_steps", int, SCRIPTS, 5000, 3000, "trainer.max_steps",
         remark="optimizer steps; the exact number, also after a resume"),
    Flag("num_train_epochs", int, SCRIPTS, 100, 100, None,
         differs=f"{_NO_EFFECT}, where max_train_steps always decides; left out"),
    Flag("train_batch_size", int, SCRIPTS, 16, 4, "data.batch_size"),
    Flag("gradient_accumulation_steps", int, TORCH, 1, 4, rules.accumulation,
         remark="the second setting measures `val/loss`, which the scripts do not have, every 100 steps"),
    Flag("learning_rate", float, SCRIPTS, 1e-4, 5e-4, "optimizer.lr"),
    Flag("scale_lr", bool, SCRIPTS, False, True, "scale_lr=true", default_in={"flax": True},
         remark="learning rate x accumulation x batch size x processes; always on in the Flax script"),
    Flag("lr_scheduler", str, SCRIPTS, "constant", "cosine_with_restarts", rules.scheduler,
         choices=tuple(rules.SCHEDULERS), remark="the Flax script ignores it"),
    Flag("lr_warmup_steps", int, SCRIPTS, 500, 100, rules.warmup, requires={"lr_scheduler": "linear"},
         remark="`constant` ignores it"),
    Flag("lr_num_cycles", int, _SD_XL, 1, 3, rules.cycles, requires={"lr_scheduler": "cosine_with_restarts"}),
    Flag("use_8bit_adam", bool, _XL, False, True, "optimizer=adamw8bit",
         remark="saves almost nothing here, because only the learned vectors have optimizer state"),
    Flag("adam_beta1", float, SCRIPTS, 0.9, 0.95, rules.betas),
    Flag("adam_beta2", float, SCRIPTS, 0.999, 0.99, rules.betas),
    Flag("adam_weight_decay", float, SCRIPTS, 1e-2, 0.0, "optimizer.weight_decay",
         remark="tinv's default is 0, because decay pulls the embedding towards zero"),
    Flag("adam_epsilon", float, SCRIPTS, 1e-8, 1e-7, "optimizer.eps"),
    Flag("mixed_precision", str, TORCH, "no", "bf16", rules.precision, choices=tuple(rules.PRECISIONS),
         remark="of all frozen weights, including the text encoders; the learned vectors are float32, for SDXL too"),
    Flag("allow_tf32", bool, TORCH, False, True, "model.tf32=true"),
    Flag("gradient_checkpointing", bool, TORCH, False, True, "model.gradient_checkpointing=true",
         remark="also of the U-Net, which the SDXL script omits"),
    Flag("enable_xformers_memory_efficient_attention", bool, TORCH, False, True, "model.attention=xformers",
         remark="the default of both is `sdpa`, PyTorch's own"),
    Flag("dataloader_num_workers", int, TORCH, 0, 2, "data.num_workers",
         remark="0 is fast here: images are encoded once, not at every step"),
    Flag("seed", int, SCRIPTS, None, 42, rules.seed, default_in={"flax": 42},
         remark="tinv's default is 0; each process draws its own noise"),
    Flag("local_rank", int, SCRIPTS, -1, 0, None,
         differs=f"{_NO_EFFECT}: processes read their rank from the environment; left out"),
)
_OUTPUT = (
    Flag("output_dir", str, SCRIPTS, "text-inversion-model", "out/my_cat", rules.output_dir,
         differs="each run gets its own folder in it, named by the time"),
    Flag("save_steps", int, SCRIPTS, 500, 250, "callbacks.export.every_n_steps"),
    Flag("save_as_full_pipeline", bool, _SD_XL, False, True, rules.formats,
         remark="the vectors are merged into the pipeline, which loads without tinv"),
    Flag("only_save_embeds", bool, _MULTI, False, True, rules.formats,
         remark="that script saves the pipeline by default"),
    Flag("no_safe_serialization", bool, _SD, False, True, rules.formats,
         remark="in addition to the safetensors file; holds only the learned vectors, where the script's file may hold "
         "the whole vocabulary"),
    Flag("checkpointing_steps", int, TORCH, 500, 250, "callbacks.checkpoints.every_n_steps",
         remark="a few kilobytes each, and one after the last step"),
    Flag("checkpoints_total_limit", int, TORCH, None, 2, "callbacks.checkpoints.total_limit",
         remark="the scripts' default keeps all checkpoints: `null`"),
    Flag("resume_from_checkpoint", str, TORCH, None, "checkpoint-500", rules.resume,
         differs="resumes from a checkpoint of tinv, not of the script; fails if there is none"),
    Flag("validation_prompt", str, TORCH, None, "A <cat-toy> backpack", rules.prompt,
         remark="a list of prompts; without one the scripts draw no samples: `~callbacks.samples`"),
    Flag("num_validation_images", int, TORCH, 4, 2, rules.num_samples, requires=_PROMPT,
         remark="one sample for each seed, with the same seeds every time"),
    Flag("validation_steps", int, _SD_XL, 100, 200, rules.sample_interval, requires=_PROMPT,
         remark="and before the first and after the last step"),
    Flag("validation_epochs", int, _SD_MULTI, None, 1, None, default_in={"multi_token": 50},
         differs="there are no epochs here; callbacks.samples.every_n_steps counts steps; left out"),
    Flag("report_to", str, TORCH, "tensorboard", "wandb", rules.logger,
         remark="`tensorboard`, `wandb`, `all` or `none`, not `comet_ml`; metrics.csv is always written"),
    Flag("logging_dir", str, SCRIPTS, "logs", "logs", None, differs="logs are in the run's folder; left out"),
    Flag("push_to_hub", bool, SCRIPTS, False, True, "hub.push=true",
         differs="uploads the embedding, its model card, samples and training images, but no logs and no pipeline, to "
         "a private repository; hub.private=false makes it public"),
    Flag("hub_model_id", str, SCRIPTS, None, "me/my-cat", "hub.repo_id",
         remark="default: the last part of `--output_dir`"),
    Flag("hub_token", str, SCRIPTS, None, "hf_...", None,
         differs="settings are written to files, which must not hold a token: use `hf auth login` or HF_TOKEN"),
    Flag("use_auth_token", bool, ("flax",), False, True, None,
         differs=f"{_NO_EFFECT}; tinv uses your login if there is one; left out"),
)
# fmt: on
SECTIONS: Mapping[str, tuple[Flag, ...]] = {
    "Model, concept, data": _CONCEPT,
    "Training": _TRAINING,
    "Output": _OUTPUT,
}
FLAGS = (*_CONCEPT, *_TRAINING, *_OUTPUT)
