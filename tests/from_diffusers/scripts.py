"""The flags of diffusers' scripts (commit 58eb52c0, August 2026), and a parser of scripts."""

import ast
import os
from pathlib import Path
from typing import Any

EVERYWHERE = """
pretrained_model_name_or_path revision train_data_dir placeholder_token initializer_token learnable_property repeats
output_dir seed resolution center_crop train_batch_size num_train_epochs max_train_steps save_steps learning_rate
scale_lr lr_scheduler lr_warmup_steps adam_beta1 adam_beta2 adam_weight_decay adam_epsilon push_to_hub hub_token
hub_model_id logging_dir local_rank
""".split()
TORCH = """
gradient_accumulation_steps gradient_checkpointing dataloader_num_workers mixed_precision allow_tf32 report_to
validation_prompt num_validation_images checkpointing_steps checkpoints_total_limit resume_from_checkpoint
enable_xformers_memory_efficient_attention
""".split()
SD_AND_SDXL = ["save_as_full_pipeline", "num_vectors", "variant", "lr_num_cycles", "validation_steps"]
SCRIPTS = {
    "sd": [*EVERYWHERE, *TORCH, *SD_AND_SDXL, "tokenizer_name", "validation_epochs", "no_safe_serialization"],
    "sdxl": [*EVERYWHERE, *TORCH, *SD_AND_SDXL, "use_8bit_adam"],
    "flax": [*EVERYWHERE, "tokenizer_name", "use_auth_token"],
    "multi_token": [
        *(*EVERYWHERE, *TORCH, "tokenizer_name", "validation_epochs", "num_vec_per_token", "vector_shuffle"),
        *("progressive_tokens", "progressive_tokens_max_steps", "only_save_embeds"),
    ],
}
REFERENCE = os.environ.get("TINV_REFERENCE")
"""The path of diffusers' textual_inversion.py, with the other scripts beside it; enables tests that need them."""


def read_flags(path: Path) -> dict[str, dict[str, Any]]:
    """Returns the flags of a script from its `add_argument` calls, without running it."""
    (function,) = (
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == "parse_args"
    )
    flags = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            (name,) = (argument.value for argument in node.args if isinstance(argument, ast.Constant))
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            flags[name.removeprefix("--")] = {
                "kind": "bool" if "action" in keywords else keywords["type"],
                "default": ast.literal_eval(keywords.get("default", "False" if "action" in keywords else "None")),
                "required": keywords.get("required") == "True",
            }
    return flags
