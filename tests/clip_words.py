"""CLIP's published vocabulary of 49,408 words, rebuilt from the file of merges that OpenAI's package ships."""

import gzip
import importlib.util
from functools import lru_cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

NUM_WORDS = 49408


@lru_cache
def clip_tokenizer() -> CLIPTokenizer:
    """The tokenizer of Stable Diffusion 1 and of SDXL's first encoder."""
    lines = gzip.decompress(_file("bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode("utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : NUM_WORDS - 2 * 256 - 2 + 1]]
    letters = list(_original().bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=merges, model_max_length=77)


def original_ids(text: str) -> list[int]:
    """The ids that OpenAI's own code gives a text."""
    return _tokenizer().encode(text)


@lru_cache
def _tokenizer() -> Any:
    return _original().SimpleTokenizer(str(_file("bpe_simple_vocab_16e6.txt.gz")))


@lru_cache
def _original() -> Any:
    """OpenAI's tokenizer module alone; the package around it wants torchvision."""
    spec = importlib.util.spec_from_file_location("openai_clip_tokenizer", _file("simple_tokenizer.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _file(name: str) -> Path:
    return Path(str(distribution("openai-clip").locate_file(f"clip/{name}")))
