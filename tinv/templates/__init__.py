"""Captions with a gap for the concept: plain text files, one caption a line, `{}` for the word.

The object list has 27 entries and the style list 19, of which 17 are different: the two that occur twice are kept,
for repetitions are sampling weights and these are the lists that published embeddings were trained with
(Gal et al. 2022, arXiv 2208.01618, appendix D).
"""

from pathlib import Path

from tinv.errors import UserError

CONTEXT: Path = Path(__file__).with_name("context.txt")
"""Prompts that say something behind the word: where it is, beside what, drawn how."""


def templates(kind: str) -> tuple[str, ...]:
    """The standard captions for a kind of concept, `object` or `style`."""
    return read_templates(Path(__file__).with_name(f"{kind}.txt"))


def read_templates(path: Path, setting: str = "data.templates_file") -> tuple[str, ...]:
    """The captions in a file: one a line, each with one `{}`; empty lines and lines starting with # are passed over.

    Args:
        path: of the file.
        setting: where it is named, for messages.

    Raises:
        UserError: no such file, no caption in it, or a caption without exactly one gap.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{setting}: cannot read {path} ({error}); give a text file with one caption a line") from error
    captions = tuple(line for line in lines if line and not line.startswith("#"))
    if not captions:
        raise UserError(f"{setting}: {path} holds no caption; write one a line, such as 'a photo of a {{}}'")
    for caption in captions:
        if caption.count("{}") != 1 or caption.replace("{}", "").count("{") or caption.replace("{}", "").count("}"):
            other = "[name]" in caption or "[filewords]" in caption
            hint = " (what is [name] in A1111 is {} here, and [filewords] is [caption])" if other else ""
            raise UserError(
                f"{setting}: {path} has {caption!r}; each caption needs exactly one {{}} for the word{hint}"
            )
    return captions
