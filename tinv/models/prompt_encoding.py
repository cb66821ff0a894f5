"""Captions with learned tokens, encoded by a pipeline's own `encode_prompt`: its templates, masks and lengths.

Used by every family but Stable Diffusion 1, 2 and XL. The pipeline gets copies of the tokenizers that know extra
tokens; their ids are the learned vectors to the `TokenLookup` of each text encoder.

B batch, L tokens, K learned vectors.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from itertools import accumulate
from typing import Any

from torch import Tensor

from tinv.errors import UserError
from tinv.models.text_encoder import TextEncoder, placeholder_regex
from tinv.silence import quiet
from tinv.types import Vectors


class PlaceholderTokenizer:
    """A copy of a tokenizer with a token for each learned vector: `<learned-0>`, `<learned-1>` ...

    A placeholder becomes the tokens of its vectors with spaces between them, as in diffusers' `load_textual_inversion`.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = deepcopy(tokenizer)
        self.first_id = len(tokenizer)
        """The id of the first learned vector."""

    def expand(self, captions: Sequence[str], num_vectors: Mapping[str, int]) -> list[str]:
        """The captions with the vectors' tokens in place of the placeholders.

        `num_vectors` has K for each placeholder (lower case), in the order of the vectors.
        """
        if not num_vectors:
            return [*captions]
        names = [f"<learned-{number}>" for number in range(sum(num_vectors.values()))]
        self.tokenizer.add_tokens(names[len(self.tokenizer) - self.first_id :])
        assert self.tokenizer.convert_tokens_to_ids(names[-1]) == self.first_id + len(names) - 1
        starts = dict(zip(num_vectors, accumulate(num_vectors.values(), initial=0), strict=False))
        spans = {name: " ".join(names[starts[name] : starts[name] + count]) for name, count in num_vectors.items()}
        pattern = placeholder_regex(tuple(num_vectors))
        return [pattern.sub(lambda match: spans[match[0].lower()], caption) for caption in captions]

    def count(self, text: str) -> int:
        """The number of learned vectors in an expanded caption."""
        return sum(id >= self.first_id for id in self.tokenizer(text, add_special_tokens=False).input_ids)


class PromptEncoder:
    """Calls the `encode_prompt` of a model's pipeline; gradients reach the vectors of the learned tokens."""

    def __init__(self, model: Any):
        """Builds the pipeline of a `LatentDiffusion`, which shares its modules."""
        family = model.family
        self.title, self.encoders = family.title, dict(zip(family.text_encoders, model.text_encoders.values()))
        for encoder in self.encoders.values():
            _pool_at_the_end(encoder)
            encoder.encoder.config.get_text_config().use_cache = False  # gradient checkpointing would fill it twice
        self._tokenizers = {name: PlaceholderTokenizer(encoder.tokenizer) for name, encoder in self.encoders.items()}
        copies = [tokenizer.tokenizer for tokenizer in self._tokenizers.values()]
        self._pipeline = model.pipeline(model.scheduler, **dict(zip(family.tokenizers, copies, strict=True)))
        self._checked: set[str] = set()

    def __call__(self, captions: Sequence[str], vectors: Vectors, *, is_negative: bool = False, **options: Any) -> Any:
        """What `encode_prompt` returns for B captions.

        A text encoder without vectors of its own reads a placeholder as ordinary text.

        Args:
            captions: B texts that may contain placeholders.
            vectors: of the learned tokens.
            is_negative: whether the captions are negative prompts; the prompts are then empty.
            options: further arguments of `encode_prompt`.

        Raises:
            UserError: a learned token is cut off.
        """
        prompts: dict[str, list[str]] = {}
        ids: dict[str, list[Tensor]] = {name: [] for name in self.encoders}
        with ExitStack() as stack, quiet():
            for name, encoder in self.encoders.items():
                learned = encoder.select(vectors)
                num_vectors = {placeholder: len(vectors_KD) for placeholder, vectors_KD in learned.items()}
                prompts[name] = self._tokenizers[name].expand(captions, num_vectors)
                stack.enter_context(encoder.with_vectors(learned, first_id=self._tokenizers[name].first_id))
                if not self._checked.issuperset(prompts[name]):
                    hook = encoder.token_lookup.register_forward_pre_hook(partial(_record, ids[name]))
                    stack.callback(hook.remove)
            arguments = {name.replace("text_encoder", "prompt"): texts for name, texts in prompts.items()}
            if is_negative:
                arguments = {f"negative_{name}": texts for name, texts in arguments.items()} | {
                    name: [""] * len(captions) for name in arguments
                }
            device = next(iter(self.encoders.values())).device
            output = self._pipeline.encode_prompt(**arguments, device=device, **options)
        for name, encoder in self.encoders.items():
            if ids[name]:
                self._check(encoder, self._tokenizers[name], prompts[name], ids[name])
        return output

    def _check(
        self, encoder: TextEncoder, tokenizer: PlaceholderTokenizer, texts: list[str], ids: list[Tensor]
    ) -> None:
        """Compare the number of learned vectors that an encoder reads with those in the captions."""
        counts = [tokenizer.count(text) for text in texts]
        if (read := sum(int((ids_BL >= tokenizer.first_id).sum()) for ids_BL in ids)) < sum(counts):
            longest = max(texts, key=lambda text: len(tokenizer.tokenizer(text).input_ids))
            raise UserError(
                f"data.captions: {sum(counts) - read} learned vectors are cut off. The caption {longest!r} has "
                f"{len(tokenizer.tokenizer(longest).input_ids)} tokens, but {encoder.role} of {self.title} reads "
                f"{ids[-1].shape[1]}, those of the pipeline's own prompt included. Shorten it, or lower "
                f"embedding.num_vectors."
            )
        self._checked.update(texts)


def _pool_at_the_end(encoder: TextEncoder) -> None:
    """Make a CLIP take its pooled vector at the end of the text, whatever the ids of learned tokens.

    The configurations of published models say `eos_token_id: 2`, and transformers then takes it at the largest id.
    """
    for part in encoder.encoder.modules():
        if hasattr(part, "eos_token_id"):
            part.eos_token_id = encoder.tokenizer.eos_token_id


def _record(ids: list[Tensor], _: Any, arguments: tuple[Tensor, ...]) -> None:
    ids.append(arguments[0])
