"""Token vectors: how many, and where they start.

K rows, V words, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

from torch import Tensor

from tinv.concept import Concept
from tinv.embeddings.averaging import EMA, TailAverage
from tinv.embeddings.checks import check_caption_length, check_placeholder, check_single_token, initializer_ids
from tinv.embeddings.init import at_random, from_file, from_mean, from_outputs, from_tokens, spread
from tinv.embeddings.norm_constraint import NormConstraint, mean_norm, median_norm
from tinv.embeddings.parameters import TokenParameters
from tinv.errors import UserError
from tinv.token_parts import MAX_STAGES, stage_names
from tinv.types import Conditioning

Init = Literal["word", "phrase", "mean", "cross", "clip", "vocabulary", "random", "file"]
FROM_WORDS = ("word", "phrase", "mean", "cross")
"""The ways of starting that need `concept.initializer_token`."""
Norm = Literal["free", "fixed", "soft", "directional"]


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig:
    """The settings of conf/embedding/token; `start` turns them into rows."""

    num_vectors: int = 1
    """K, how many tokens the concept takes. More hold more detail and cost editability; 1 to 8 are usual."""
    init: Init = "word"
    """`word` copies the initializer's one token into every row, `phrase` gives each of its tokens a row, `mean`
    starts all rows at its tokens' mean, `cross` at what the text encoder makes of each of its tokens (Pang et al. 2023,
    arXiv 2312.15905), some 70 times as long as a word. `clip` looks for the word that fits the pictures best (Voronov
    et al. 2023, arXiv 2302.04841). `vocabulary` is the mean of all words, `random` draws from the vocabulary's spread,
    `file` reads `init_file`."""
    init_file: str | None = None
    """An embedding file or a run folder, for `init=file`."""
    init_words: list[str] | None = None
    """For `init=clip`: the words to choose from; None is all of the model's vocabulary. A few that name kinds of things
    are faster and surer than tens of thousands."""
    init_noise: float = 0.0
    """Added to the start, in units of the vocabulary's standard deviation; 0 to 0.5. Rows that start equal are told
    apart by their positions only, until the gradient parts them."""
    norm: Norm = "free"
    """`fixed` keeps every row exactly as long as the vocabulary's median word, from the start on; `soft` draws it there
    a little after each step. `directional` keeps every row as long as the mean word and learns where it points, with
    `optimizer=rsgd` (Kim et al. 2025, arXiv 2512.13672). Long rows hold more detail and drown the rest of a prompt."""
    norm_strength: float = 0.1
    """For `norm=soft`: how much of the way in a step, 0 to 1; each step multiplies a row by
    (length / its norm) ** norm_strength."""
    ema: float = 0.0
    """Decay of a moving average of the rows, which then is what is saved, sampled and validated; 0 keeps none. It is
    some 1 / (1 - ema) steps behind the rows: 0.99 to 0.999, and far below the run's length."""
    average_last: float = 0.0
    """Share of the run's last steps over which the rows are averaged, which then is what is saved, sampled and
    validated; 0 keeps no average, 0.1 to 0.5 are usual."""
    timestep_stages: int = 1
    """In how many equal stages of the noise schedule the word has rows of its own, K in each, that all start alike
    (ProSpect, Zhang et al. 2023, arXiv 2305.16225; Multiresolution TI, Daras & Dimakis 2022, arXiv 2211.17115); 10 is
    usual, 1 are ordinary rows. A sample teaches the rows of its own stage, so that each learns from 1 / stages of
    them."""
    per_layer: bool = False
    """Whether the word has rows of its own, K in each, for every layer of the U-Net that looks at the text, that all
    start alike (XTI, Voynov et al. 2023, arXiv 2303.09522). A caption is encoded once for each layer."""
    num_negative_vectors: int = 0
    """How many rows are learned besides, for what the concept is not: the word's negative, which stands in the negative
    prompt (DreamArtist, Dong et al. 2022, arXiv 2211.11337, which has 3 and 10). 0 learns none."""
    guidance_scale: float = 5.0
    """For `negative`: how far the two are pulled apart in training, as pictures are drawn with; 3 to 7."""

    def __post_init__(self) -> None:
        if self.num_vectors < 1:
            raise UserError(f"embedding.num_vectors must be 1 or more, got {self.num_vectors}")
        if self.init not in get_args(Init):
            raise UserError(f"embedding.init must be one of {', '.join(get_args(Init))}, got {self.init!r}")
        if self.init_noise < 0:
            raise UserError(f"embedding.init_noise must be 0 or more, got {self.init_noise}")
        if (self.init == "file") != (self.init_file is not None):
            raise UserError(
                f"embedding.init=file and embedding.init_file go together, got init={self.init} and "
                f"init_file={self.init_file}; set both or neither"
            )
        if self.init_words is not None and (self.init != "clip" or not self.init_words):
            raise UserError(
                f"embedding.init_words are for embedding.init=clip to choose from, got init={self.init} and "
                f"init_words={self.init_words}; set init=clip and some words, or init_words=null"
            )
        if self.norm not in get_args(Norm):
            raise UserError(f"embedding.norm must be one of {', '.join(get_args(Norm))}, got {self.norm!r}")
        if self.init == "cross" and self.norm != "free":
            raise UserError(
                f"embedding.init=cross starts rows at the length of the text encoder's output, which embedding.norm="
                f"{self.norm} would take from them; set embedding.norm=free, or embedding.init=word"
            )
        if not 0 < self.norm_strength <= 1:
            raise UserError(
                f"embedding.norm_strength must be above 0 and at most 1, got {self.norm_strength}; "
                f"embedding.norm=free leaves the norm alone"
            )
        if not 0 <= self.ema < 1:
            raise UserError(f"embedding.ema must be 0 or more and less than 1, got {self.ema}; 0 keeps no average")
        if not 0 <= self.average_last < 1:
            raise UserError(
                f"embedding.average_last must be 0 or more and less than 1, got {self.average_last}; 0 keeps no average"
            )
        if self.ema and self.average_last:
            raise UserError(
                f"embedding.ema={self.ema} and embedding.average_last={self.average_last} are two averages of the same rows; "
                f"set one of them to 0"
            )
        if not 1 <= self.timestep_stages <= MAX_STAGES:
            raise UserError(
                f"embedding.timestep_stages must be 1 to {MAX_STAGES}, got {self.timestep_stages}; 10 is usual, 1 are ordinary rows"
            )
        if self.timestep_stages > 1 and self.per_layer:
            raise UserError(
                f"embedding.timestep_stages={self.timestep_stages} and embedding.per_layer=true: a word has rows for stages or for layers; "
                f"set timestep_stages=1 or per_layer=false"
            )
        if self.num_negative_vectors < 0 or (
            self.num_negative_vectors and (self.timestep_stages > 1 or self.per_layer)
        ):
            raise UserError(
                f"embedding.num_negative_vectors must be 0 or more, and has no place beside timestep_stages or per_layer, got num_negative_vectors="
                f"{self.num_negative_vectors} with timestep_stages={self.timestep_stages} and per_layer={self.per_layer}; set timestep_stages=1 and per_layer=false"
            )
        if self.guidance_scale <= 1:
            raise UserError(f"embedding.guidance_scale must be above 1, got {self.guidance_scale}; 5 is usual")

    @property
    def has_parts(self) -> bool:
        """Whether the word has rows of their own for different places."""
        return self.timestep_stages > 1 or self.per_layer

    def check(
        self,
        concept: Concept,
        tokenizer: Any,
        captions: Mapping[str, str],
        others: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Ask the tokenizer alone, which is quick, whether this concept can be learned like this.

        Args:
            concept: gives the words.
            tokenizer: of a text encoder.
            captions: all that may be shown, each with the place where it is written.
            others: how many tokens each of the run's other words takes.

        Raises:
            UserError: the placeholder is taken, the initializer cannot start these rows, or they do not fit a caption.
        """
        check_placeholder(concept, tokenizer)
        check_caption_length(
            concept, tokenizer, captions, num_vectors=max(self.num_vectors, self.num_negative_vectors), others=others
        )
        for word in self.init_words or ():
            check_single_token(word, tokenizer)
        self._initializer_ids(concept, tokenizer)

    def check_model(self, encoders: int) -> None:
        """Whether a model with so many text encoders can learn such a word.

        Raises:
            UserError: it cannot.
        """
        if self.per_layer and encoders > 1:
            raise UserError(
                "embedding.per_layer=true is for Stable Diffusion 1 and 2: SDXL has 70 layers that look at the text, and "
                "two text encoders for each; take embedding=per_timestep or embedding=token"
            )

    def init_parameters(
        self,
        concept: Concept,
        *,
        tokenizers: Mapping[str, Any],
        tables: Mapping[str, Tensor],
        seed: int,
        encode_text: Callable[..., Conditioning] | None = None,
        layers: Sequence[str] = (),
    ) -> TokenParameters:
        """The rows at their start, float32 on the CPU.

        Args:
            concept: gives the placeholder and the initializer.
            tokenizers: give the initializer's tokens to each text encoder.
            tables: the frozen vocabulary [V, D] of each text encoder.
            seed: of the run.
            encode_text: the frozen model's, for `init=cross`.
            layers: of the frozen model's U-Net that look at the text, for `layers`.

        Raises:
            UserError: the initializer cannot start these rows, or the file does not fit the model.
        """
        assert self.init != "clip", "the word is looked for before the rows start"
        if self.init == "cross":
            assert encode_text is not None
            outputs = from_outputs(
                encode_text, concept.initializer_token or "", {n: t.shape[1] for n, t in tables.items()}
            )
        rows: dict[str, Tensor] = {}
        for encoder, table in tables.items():
            ids = self._initializer_ids(concept, tokenizers[encoder])
            table_VD = table.detach().cpu()
            if self.init == "random":
                start_KD = at_random(table_VD, self.num_vectors, seed=seed, encoder=encoder)
            elif self.init_file is not None:
                width = table_VD.shape[1]
                start_KD = from_file(self.init_file, encoder, num_vectors=self.num_vectors, width=width)
            elif self.init == "mean":
                start_KD = from_mean(table_VD, ids, self.num_vectors)
            elif self.init == "vocabulary":
                start_KD = from_mean(table_VD, range(len(table_VD)), self.num_vectors)
            elif self.init == "cross":
                start_KD = from_tokens(outputs[encoder], range(len(ids)), self.num_vectors)
            else:
                start_KD = from_tokens(table_VD, ids, self.num_vectors)
            rows[encoder] = spread(start_KD, table_VD, noise=self.init_noise, seed=seed, encoder=encoder)
        parts = layers if self.per_layer else stage_names(self.timestep_stages)
        started = TokenParameters(concept.placeholder_token, rows, parts, self.num_negative_vectors)
        if (hold := self.build_norm_constraint(tables)) and hold.is_exact:
            hold(started)
        return started

    def build_norm_constraint(self, tables: Mapping[str, Tensor]) -> NormConstraint | None:
        """What is done to the rows' norms after each optimizer step, given the frozen vocabularies [V, D]."""
        if self.norm == "free":
            return None
        length = mean_norm if self.norm == "directional" else median_norm
        lengths = {encoder: length(table_VD) for encoder, table_VD in tables.items()}
        return NormConstraint(lengths, strength=self.norm_strength if self.norm == "soft" else 1.0)

    def build_average(self, rows: TokenParameters) -> EMA | TailAverage | None:
        """The average that is kept of the rows, which are at their start."""
        if self.average_last:
            return TailAverage(rows, self.average_last)
        return EMA(rows, self.ema) if self.ema else None

    def _initializer_ids(self, concept: Concept, tokenizer: Any) -> list[int]:
        if self.init not in FROM_WORDS:
            return []
        return initializer_ids(concept, tokenizer, num_vectors=self.num_vectors, init=self.init)
