"""The model card of a learned embedding: what it is, how to use it, how it was trained."""

import json
import shlex
from typing import Any

import yaml

from tinv.concept import slug
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.negative import negative_token
from tinv.hub.licenses import find_license
from tinv.publish.run_facts import CONCEPT_IMAGES, RunFacts
from tinv.token_parts import encoder_of, has_negative


def model_card(facts: RunFacts, *, repo_id: str, license: str | None, files: list[str]) -> str:
    """Returns the text of README.md.

    Args:
        facts: facts about the run.
        repo_id: the repository of the files.
        license: Hub license id of the embedding; None is the base model's, if it is known.
        files: all other files of the repository.
    """
    base = facts.learned.provenance.get("base_model", "")
    base_license = facts.learned.provenance.get("base_license") or find_license(base)
    metadata = yaml.safe_dump(_metadata(facts, license or base_license), sort_keys=False, allow_unicode=True)
    sections = [
        f"---\n{metadata}---",
        _introduction(facts),
        _samples(facts, files),
        "## Use",
        f"```python\n{usage(facts.learned, repo_id=repo_id, files=files)}\n```",
        _other_programs(facts.learned, files),
        "## Training",
        _training_table(facts, files),
        f"```\n{' '.join(['tinv-train', *map(_shell_quote, facts.overrides)])}\n```",
        "## License",
        _license(base, license, base_license),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def usage(learned: LearnedEmbedding, *, repo_id: str, files: list[str]) -> str:
    """Returns Python code that draws an image with the embedding."""
    base, revision = learned.provenance.get("base_model", ""), learned.provenance.get("base_revision")
    token, has_loader = learned.placeholder_token, _has_loader(learned)
    lines, model = ["import torch", "from diffusers import DiffusionPipeline"], _literal(base)
    if not has_loader:
        lines += ["from huggingface_hub import snapshot_download", "", "import tinv  # pip install tinv"]
    if base.startswith("pkg://"):
        lines += ["from tinv.runs.files import resolve_path"]
        model = f"str(resolve_path({_literal(base)}))"
    arguments = f"{model}, revision={_literal(revision)}" if revision else model
    comment = "" if "/" in base else "  # the folder of the model"
    lines += ["", f"pipe = DiffusionPipeline.from_pretrained({arguments}){comment}"]
    lines += ['pipe.to("cuda" if torch.cuda.is_available() else "cpu")']
    tokens = {"learned_embeds": token}
    if has_negative(learned.vectors):
        tokens["learned_embeds-neg"] = negative_token(token)
    if has_loader:
        lines += [line for stem in tokens for line in _loading_code(stem, repo_id=repo_id, files=files)]
    else:
        folder = f'snapshot_download({_literal(repo_id)}, allow_patterns="*.safetensors")'
        lines += [f"tinv.load_embedding(pipe, {folder})"]
    prompts = ", negative_prompt=".join(_literal(_prompt(learned, each)) for each in tokens.values())
    if "t5" in learned.vectors and learned.provenance.get("prediction_type") == "epsilon":
        prompts += ", clean_caption=False"  # PixArt would remove <cat-toy> as an HTML tag
    return "\n".join([*lines, f"image = pipe({prompts}).images[0]", 'image.save("image.png")'])


def _has_loader(learned: LearnedEmbedding) -> bool:
    """Whether the model is Stable Diffusion 1, 2 or XL, into whose pipelines diffusers' own loader reads the files."""
    encoders = {encoder_of(name) for name in learned.vectors}
    return encoders <= {"clip_l", "clip_h", "clip_g"} and learned.provenance.get("prediction_type") != "flow"


def _loading_code(stem: str, *, repo_id: str, files: list[str]) -> list[str]:
    """Returns Python code that loads an embedding into each text encoder."""
    if f"{stem}_2.safetensors" not in files:
        weight_name = "" if stem == "learned_embeds" else f", weight_name={_literal(f'{stem}.safetensors')}"
        return [f"pipe.load_textual_inversion({_literal(repo_id)}{weight_name})"]
    return [
        f"pipe.load_textual_inversion({_literal(repo_id)}, weight_name={_literal(f'{stem}{part}.safetensors')}, "
        f"text_encoder=pipe.text_encoder{part}, tokenizer=pipe.tokenizer{part})"
        for part in ("", "_2")
    ]


def _literal(value: str) -> str:
    """Returns a Python string literal in double quotes."""
    return json.dumps(value, ensure_ascii=False)


def _prompt(learned: LearnedEmbedding, token: str) -> str:
    is_style = learned.provenance.get("kind") == "style"
    return f"a painting in the style of {token}" if is_style else f"a photo of a {token}"


def _metadata(facts: RunFacts, license: str | None) -> dict[str, Any]:
    base = facts.learned.provenance.get("base_model", "")
    family = "stable-diffusion-xl" if "clip_g" in facts.learned.vectors else "stable-diffusion"
    of_family = [family, f"{family}-diffusers"] if _has_loader(facts.learned) else []
    return {
        **({"license": license} if license else {}),
        **({"base_model": base} if _is_hub_id(base) else {}),
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "instance_prompt": facts.learned.placeholder_token,
        "tags": [*of_family, "text-to-image", "diffusers", "textual_inversion", "tinv"],
    }


def _introduction(facts: RunFacts) -> str:
    learned, token = facts.learned, facts.learned.placeholder_token
    initializer = learned.provenance.get("initializer_token")
    sizes = " and ".join(f"{len(v)} of {v.shape[1]} numbers ({encoder})" for encoder, v in learned.vectors.items())
    return (
        f"# {token.replace('<', '&lt;')}\n\n"
        f"`{token}` is a placeholder token for {'a style' if facts.kind == 'style' else 'an object'}, learned from "
        f"{len(facts.images)} images by [textual inversion](https://arxiv.org/abs/2208.01618)"
        f"{f', initialized from `{initializer}`' if initializer else ''}. It consists of input vectors for the text "
        f"encoder, {sizes}; the model itself is unchanged."
    )


def _samples(facts: RunFacts, files: list[str]) -> str:
    sheets = sorted(name for name in files if name.startswith("samples/"))
    if not sheets:
        return ""
    sampling = ", ".join(f"{key} {value}" for key, value in facts.sampling.items() if value is not None)
    before = f" [The same prompts and seeds before training]({sheets[0]})." if len(sheets) > 1 else ""
    settings = f" ({sampling})" if sampling else ""
    return f"![Samples]({sheets[-1]})\n\nAll samples of the last step, not a selection{settings}.{before}"


def _other_programs(learned: LearnedEmbedding, files: list[str]) -> str:
    with_tinv = f'With tinv: `tinv generate --embedding FOLDER "{_prompt(learned, "{}")}"`.'
    if not _has_loader(learned):
        return f"{with_tinv} `tinv convert --to comfy` and `--to onetrainer` write files for ComfyUI and OneTrainer."
    own = f"{slug(learned.placeholder_token)}.safetensors"
    file = own if own in files else "learned_embeds.safetensors"
    renamed = "" if file == own else f" as `{own}`"
    return (
        f"{with_tinv} In AUTOMATIC1111, Forge and ComfyUI, the file name is the token: copy `{file}` into the "
        f"embeddings folder{renamed}."
    )


def _training_table(facts: RunFacts, files: list[str]) -> str:
    run, provenance = facts.run, facts.learned.provenance
    loss_name = f"val/loss/{slug(facts.learned.placeholder_token)}" if facts.other_tokens else "val/loss"
    loss = run.card_section("result").get(loss_name)
    are_published = any(name.startswith(f"{CONCEPT_IMAGES}/") for name in files)
    revision = f" at {provenance['base_revision']}" if provenance.get("base_revision") else ""
    rows = {
        "base model": f"`{provenance.get('base_model', 'unknown')}`{revision}",
        "images": f"{len(facts.images)}" + (f", in `{CONCEPT_IMAGES}/`" if are_published else ", not published"),
        "steps": provenance.get("steps"),
        "effective batch size": run.card.get("effective_batch"),
        "precision": run.card.get("precision"),
        "seed": provenance.get("seed"),
        "final val/loss": f"{loss:.4f}" if isinstance(loss, float) else None,
        "device": run.card_section("machine").get("device_name"),
        "training time": _duration(run.training_seconds) if run.training_seconds else None,
        "trained together with": ", ".join(f"`{token}`" for token in facts.other_tokens),
        "trained with": f"tinv {provenance.get('tinv_version', '')}".strip(),
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items() if value)])


def _license(base: str, license: str | None, base_license: str | None) -> str:
    link = f"[{base}](https://huggingface.co/{base})" if _is_hub_id(base) else f"`{base}`"
    own = f"The embedding is licensed under {license}. " if license else ""
    of_base = f"is licensed under {base_license}" if base_license else "has a license of its own; see its page"
    return f"{own}The base model, {link}, {of_base}. Its terms also apply to images drawn with the embedding."


def _is_hub_id(base: str) -> bool:
    return "/" in base and "://" not in base


def _shell_quote(override: str) -> str:
    """Quotes an override for a shell; in double quotes where possible, because overrides contain single quotes."""
    return f'"{override}"' if "'" in override and not set('"$`\\!') & set(override) else shlex.quote(override)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
