"""The tokenizers of a model: its own, or others."""

from transformers import CLIPTokenizer

from tinv.errors import UserError
from tinv.formats import encoder_of_width
from tinv.models.families import SDXL, read_json
from tinv.models.sources import Source, part_place
from tinv.models.stable_diffusion_xl import ENCODERS
from tinv.silence import explained

_FILES = (("vocab.json", "merges.txt"), ("tokenizer.json",))
"""What makes a tokenizer, old and new; transformers makes an empty one up where they are missing."""


def tokenizers_of(source: Source, other: str | None) -> dict[str, CLIPTokenizer]:
    """The tokenizer of each text encoder, by the encoder's name.

    Args:
        source: of the model.
        other: where other tokenizers are: a folder, or an id of the Hub, also as `id@revision`.

    Raises:
        UserError: one is missing or broken, or knows words that the text encoder does not.
    """
    family, place = source.family, source.name
    texts = [read_json(source.folder / name / "config.json", place=place) for name in family.text_encoders]
    encoders = ENCODERS if family is SDXL else (encoder_of_width(texts[0].get("hidden_size", 512)),)
    folders = [source.folder / name for name in family.tokenizers]
    setting = "model.tokenizer" if other else "model.pretrained"
    if other:
        folders = [part_place(other, setting=setting, part=name) for name in family.tokenizers]
        if len(set(folders)) < len(folders):
            raise UserError(f"model.tokenizer: {other} holds one tokenizer, {family.title} has two")
    tokenizers = {}
    for encoder, folder, text in zip(encoders, folders, texts, strict=True):
        if not any(all((folder / name).is_file() for name in names) for names in _FILES):
            raise UserError(f"{setting}: there is no whole tokenizer in {folder}; it needs vocab.json and merges.txt")
        with explained(setting, other or place):
            tokenizer = CLIPTokenizer.from_pretrained(folder)
        tokenizer.model_max_length = min(tokenizer.model_max_length, text.get("max_position_embeddings", 77))
        if max(tokenizer.get_vocab().values()) >= (size := text.get("vocab_size", 49408)):
            raise UserError(
                f"{setting}: the tokenizer of {other or place} has {len(tokenizer)} words, the text encoder {size}"
                f"; give the tokenizer that belongs to the model"
            )
        tokenizers[encoder] = tokenizer
    return tokenizers
