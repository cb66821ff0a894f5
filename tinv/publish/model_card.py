"""The model card: what a word is, how to use it, how it came about. Only what the run's folder knows."""

import json
import shlex
from typing import Any

import yaml

from tinv.concept import slug
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.negative import negative_token
from tinv.hub.licenses import find_license
from tinv.publish.run_facts import CONCEPT_IMAGES, Facts
from tinv.token_parts import has_negative

_PAPER = "https://arxiv.org/abs/2208.01618"


def model_card(facts: Facts, *, repo_id: str, license: str | None, files: list[str]) -> str:
    """The text of README.md.

    Args:
        facts: of the run.
        repo_id: where the files will be.
        license: of the word, as the Hub calls it; None is the base model's, where that is known.
        files: what else will be there.
    """
    base = facts.learned.provenance.get("base_model", "")
    theirs = facts.learned.provenance.get("base_license") or find_license(base)
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(facts, license or theirs), sort_keys=False, allow_unicode=True)}---",
        _introduction(facts),
        _samples(facts, files),
        "## Use",
        f"```python\n{usage(facts.learned, repo_id=repo_id, files=files)}\n```",
        _other_programs(facts.learned, files),
        "## How it was made",
        _table(facts, files),
        f"```\n{' '.join(['tinv-train', *map(_quoted, facts.overrides)])}\n```",
        "## License",
        _license(base, license, theirs),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def usage(learned: LearnedEmbedding, *, repo_id: str, files: list[str]) -> str:
    """Python that draws a picture with the word."""
    base, revision = learned.provenance.get("base_model", ""), learned.provenance.get("base_revision")
    word = learned.placeholder_token
    lines = ["import torch", "from diffusers import DiffusionPipeline"]
    where = _text(base)
    if base.startswith("pkg://"):
        lines += ["from tinv.runs.files import resolve_path"]
        where = f"str(resolve_path({_text(base)}))"
    place = f"{where}, revision={_text(revision)}" if revision else where
    lines += ["", f"pipe = DiffusionPipeline.from_pretrained({place})"]
    if "/" not in base:
        lines[-1] += "  # the folder of the model"
    lines += ['pipe.to("cuda" if torch.cuda.is_available() else "cpu")']
    words = {"learned_embeds": word}
    if has_negative(learned.vectors):
        words["learned_embeds-neg"] = negative_token(word)
    for stem in words:
        lines += _loading(stem, repo_id=repo_id, files=files)
    prompts = ", negative_prompt=".join(_text(_prompt(learned, each)) for each in words.values())
    return "\n".join([*lines, f"image = pipe({prompts}).images[0]", 'image.save("picture.png")'])


def _loading(stem: str, *, repo_id: str, files: list[str]) -> list[str]:
    """Python that loads a word into each text encoder."""
    if f"{stem}_2.safetensors" not in files:
        which = "" if stem == "learned_embeds" else f", weight_name={_text(f'{stem}.safetensors')}"
        return [f"pipe.load_textual_inversion({_text(repo_id)}{which})"]
    return [
        f"pipe.load_textual_inversion({_text(repo_id)}, weight_name={_text(f'{stem}{part}.safetensors')}, "
        f"text_encoder=pipe.text_encoder{part}, tokenizer=pipe.tokenizer{part})"
        for part in ("", "_2")
    ]


def _text(value: str) -> str:
    """A Python literal, in double quotes."""
    return json.dumps(value, ensure_ascii=False)


def _prompt(learned: LearnedEmbedding, word: str) -> str:
    return f"a painting in the style of {word}" if learned.provenance.get("kind") == "style" else f"a photo of a {word}"


def _front_matter(facts: Facts, license: str | None) -> dict[str, Any]:
    base = facts.learned.provenance.get("base_model", "")
    family = "stable-diffusion-xl" if "clip_g" in facts.learned.vectors else "stable-diffusion"
    return {
        **({"license": license} if license else {}),
        **({"base_model": base} if "/" in base and "://" not in base else {}),
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "instance_prompt": facts.learned.placeholder_token,
        "tags": [family, f"{family}-diffusers", "text-to-image", "diffusers", "textual_inversion", "tinv"],
    }


def _introduction(facts: Facts) -> str:
    learned = facts.learned
    what = "a style" if facts.kind == "style" else "a thing"
    start = learned.provenance.get("initializer_token")
    rows = {name: f"{len(rows)} of {rows.shape[1]} numbers" for name, rows in learned.vectors.items()}
    sizes = " and ".join(f"{size} ({name})" for name, size in rows.items())
    return (
        f"# {learned.placeholder_token.replace('<', '&lt;')}\n\n"
        f"`{learned.placeholder_token}` is a word for {what}, learned from {len(facts.pictures)} pictures by "
        f"[textual inversion]({_PAPER}){f', starting from the word `{start}`' if start else ''}. It is nothing but "
        f"vectors for the text encoder, {sizes}; the model itself is unchanged."
    )


def _samples(facts: Facts, files: list[str]) -> str:
    sheets = sorted(name for name in files if name.startswith("samples/"))
    if not sheets:
        return ""
    drawn = ", ".join(f"{key} {value}" for key, value in facts.settings.items() if value is not None)
    before = f" [The same prompts and seeds before training]({sheets[0]})." if len(sheets) > 1 else ""
    return f"![Samples]({sheets[-1]})\n\nNot selected: the run's own last sheet{drawn and f' ({drawn})'}.{before}"


def _other_programs(learned: LearnedEmbedding, files: list[str]) -> str:
    own = f"{slug(learned.placeholder_token)}.safetensors"
    file = own if own in files else "learned_embeds.safetensors"
    renamed = "" if file == own else f" as `{own}`"
    return (
        f'With tinv: `tinv generate --embedding FOLDER "{_prompt(learned, "{}")}"`. In AUTOMATIC1111, Forge and '
        f"ComfyUI the name of the file is the word: put `{file}` into the folder for embeddings{renamed}."
    )


def _table(facts: Facts, files: list[str]) -> str:
    card, told = facts.card, facts.learned.provenance
    result, machine = card.get("result", {}), card.get("machine", {})
    loss = result.get(f"val/loss/{slug(facts.learned.placeholder_token)}" if facts.companions else "val/loss")
    training = card.get("seconds", {}).get("training")
    earlier = sum(session.get("seconds", {}).get("training", 0) for session in card.get("earlier", []))
    names = [name for name in files if name.startswith(f"{CONCEPT_IMAGES}/")]
    revision = f" at {told['base_revision']}" if told.get("base_revision") else ""
    rows = {
        "base model": f"`{told.get('base_model', 'unknown')}`{revision}",
        "pictures": f"{len(facts.pictures)}" + (f", in `{CONCEPT_IMAGES}/`" if names else ", not published"),
        "steps": told.get("steps"),
        "effective batch": card.get("effective_batch"),
        "precision": card.get("precision"),
        "seed": told.get("seed"),
        "val/loss at the end": loss and f"{loss:.4f}",
        "device": machine.get("device_name"),
        "training time": training and _duration(training + earlier),
        "learned in one run with": ", ".join(f"`{word}`" for word in facts.companions),
        "made with": f"tinv {told.get('tinv_version', '')}".strip(),
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items() if value)])


def _license(base: str, own: str | None, theirs: str | None) -> str:
    link = f"[{base}](https://huggingface.co/{base})" if "/" in base and "://" not in base else f"`{base}`"
    of_base = (
        f"The base model, {link}, is under {theirs}" if theirs else f"For the license of the base model see {link}"
    )
    of_word = f"The word is under {own}. " if own else ""
    return f"{of_word}{of_base}; its terms bind what is drawn with the word, too."


def _quoted(override: str) -> str:
    """For a shell; in double quotes where that will do, for overrides have single ones."""
    return f'"{override}"' if "'" in override and not set('"$`\\!') & set(override) else shlex.quote(override)


def _duration(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s" if minutes else f"{left} s"
