"""The settings of learned vectors: how many, how they start, and what constrains and averages them.

K vectors, V words, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

from torch import Tensor

from tinv.concept import Concept
from tinv.embeddings.averaging import EMA, TailAverage
from tinv.embeddings.checks import check_caption_length, check_placeholder, check_single_token, initializer_ids
from tinv.embeddings.init import (
    add_noise,
    init_from_file,
    init_from_mean,
    init_from_tokens,
    init_random,
    read_init_file,
    text_encoder_outputs,
)
from tinv.embeddings.norm_constraint import NormConstraint, mean_norm, median_norm
from tinv.embeddings.parameters import TokenParameters
from tinv.errors import UserError
from tinv.token_parts import MAX_STAGES, stage_names
from tinv.types import Conditioning

Init = Literal["word", "phrase", "mean", "cross", "clip", "vocabulary", "random", "file"]
Norm = Literal["free", "fixed", "soft", "directional"]


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig:
    """The settings of conf/embedding; `init_parameters` creates the vectors."""

    encoders: list[str] | None = None
    """The text encoders that learn vectors, such as `[t5]`; None is every one that the model has. The others read the
    placeholder token as ordinary text."""
    num_vectors: int = 1
    """K, the tokens that the concept takes in a prompt; 1 to 8. More hold more detail but cost editability."""
    init: Init = "word"
    """`word`: every vector copies the initializer's one token. `phrase`: one vector per token of the initializer.
    `mean`: every vector is the mean of its tokens. `cross`: the text encoder's output for each of its tokens (Pang et
    al. 2023, arXiv 2312.15905), whose norm is about 70 times a word's. `clip`: the word that fits the images best
    (Voronov et al. 2023, arXiv 2302.04841). `vocabulary`: the mean of all words. `random`: normal noise with the
    vocabulary's mean and standard deviation. `file`: read from `init_file`."""
    init_file: str | None = None
    """For `init=file`: an embedding file or a run folder."""
    init_words: list[str] | None = None
    """For `init=clip`: the candidate words; None is the model's whole vocabulary. A few nouns are faster and more
    reliable than tens of thousands of words."""
    init_noise: float = 0.0
    """Noise added to the initial vectors, in standard deviations of the vocabulary; 0 to 0.5. Without it, equal vectors
    differ only by their positions in the prompt until their gradients separate them."""
    norm: Norm = "free"
    """`fixed`: every vector always has the vocabulary's median norm. `soft`: each step moves the norm towards it.
    `directional`: every vector keeps the vocabulary's mean norm, and only its direction is learned, with
    `optimizer=rsgd` (Kim et al. 2025, arXiv 2512.13672). Vectors with a large norm hold more detail but dominate the
    rest of a prompt."""
    norm_strength: float = 0.1
    """For `norm=soft`, 0 to 1: each step multiplies a vector by (target / norm) ** norm_strength."""
    ema: float = 0.0
    """Decay of a moving average of the vectors, which is then saved, sampled and validated; 0 turns it off. The average
    lags about 1 / (1 - ema) steps, which must be far below the run's length: 0.99 to 0.999."""
    average_last: float = 0.0
    """Share of the run's steps, the last ones, over which the vectors are averaged; the average is then saved, sampled
    and validated. 0 turns it off; 0.1 to 0.5 are usual."""
    timestep_stages: int = 1
    """Number of equal stages of the noise schedule with K vectors each, which all start equal (ProSpect, Zhang et al.
    2023, arXiv 2305.16225; Multiresolution TI, Daras & Dimakis 2022, arXiv 2211.17115). 10 is usual, 1 turns it off.
    A training example updates only the vectors of its own stage, so each learns from 1 / stages of them."""
    per_layer: bool = False
    """Whether each cross-attention layer of the U-Net has K vectors of its own, which all start equal (XTI, Voynov et
    al. 2023, arXiv 2303.09522). Each caption is encoded once per layer."""
    num_negative_vectors: int = 0
    """Number of vectors of the token's negative: what the concept is not, for the negative prompt (DreamArtist, Dong et
    al. 2022, arXiv 2211.11337, with 3 vectors and 10 negative ones). 0 turns it off."""
    guidance_scale: float = 5.0
    """For `num_negative_vectors`: scale of the guidance in training, from the negative to the token; 3 to 7."""

    def __post_init__(self) -> None:
        if self.num_vectors < 1:
            raise UserError(f"embedding.num_vectors={self.num_vectors}: must be 1 or more.")
        if self.init not in get_args(Init):
            raise UserError(f"embedding.init={self.init}: must be one of {', '.join(get_args(Init))}.")
        if self.init_noise < 0:
            raise UserError(f"embedding.init_noise={self.init_noise}: must be 0 or more.")
        if (self.init == "file") != (self.init_file is not None):
            raise UserError(
                f"embedding.init={self.init}, embedding.init_file={self.init_file}: init=file needs an init_file, "
                f"and no other init uses one. Set both or neither."
            )
        if self.init_words is not None and (self.init != "clip" or not self.init_words):
            raise UserError(
                f"embedding.init_words={self.init_words}, embedding.init={self.init}: init=clip chooses from one "
                f"or more words, and no other init uses them. Set embedding.init=clip, or embedding.init_words=null."
            )
        if self.norm not in get_args(Norm):
            raise UserError(f"embedding.norm={self.norm}: must be one of {', '.join(get_args(Norm))}.")
        if self.init == "cross" and self.norm != "free":
            raise UserError(
                f"embedding.init=cross starts from vectors with the norm of the text encoder's output, which "
                f"embedding.norm={self.norm} would change. Set embedding.norm=free, or embedding.init=word."
            )
        if not 0 < self.norm_strength <= 1:
            raise UserError(
                f"embedding.norm_strength={self.norm_strength}: must be above 0 and at most 1. "
                f"To leave norms alone, set embedding.norm=free."
            )
        for name in ("ema", "average_last"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise UserError(f"embedding.{name}={value}: must be 0 (off) or more, and less than 1.")
        if self.ema and self.average_last:
            raise UserError(
                f"embedding.ema={self.ema} and embedding.average_last={self.average_last} are two averages of the same "
                f"vectors. Set one of them to 0."
            )
        if not 1 <= self.timestep_stages <= MAX_STAGES:
            raise UserError(
                f"embedding.timestep_stages={self.timestep_stages}: must be 1 (off) to {MAX_STAGES}; 10 is usual."
            )
        if self.timestep_stages > 1 and self.per_layer:
            raise UserError(
                f"embedding.timestep_stages={self.timestep_stages} and embedding.per_layer=true cannot be combined. "
                f"Set embedding.timestep_stages=1 or embedding.per_layer=false."
            )
        if self.num_negative_vectors < 0:
            raise UserError(f"embedding.num_negative_vectors={self.num_negative_vectors}: must be 0 (off) or more.")
        if self.num_negative_vectors and self.has_parts:
            raise UserError(
                f"embedding.num_negative_vectors={self.num_negative_vectors} cannot be combined with embedding."
                f"timestep_stages={self.timestep_stages} and embedding.per_layer={self.per_layer}. Set "
                f"embedding.timestep_stages=1 and embedding.per_layer=false."
            )
        if self.guidance_scale <= 1:
            raise UserError(f"embedding.guidance_scale={self.guidance_scale}: must be above 1; 5 is usual.")

    @property
    def has_parts(self) -> bool:
        """Whether there are separate vectors for stages or layers."""
        return self.timestep_stages > 1 or self.per_layer

    def check(
        self,
        concept: Concept,
        tokenizer: Any,
        captions: Mapping[str, str],
        extra_tokens: Mapping[str, int] = MappingProxyType({}),
        *,
        max_tokens: int | None = None,
    ) -> None:
        """Checks with the tokenizer alone, which is fast, that a concept can be learned with these settings.

        Args:
            concept: to learn.
            tokenizer: of a text encoder.
            captions: every possible caption, with the file that it comes from.
            extra_tokens: number of vectors of each of the run's other placeholder tokens.
            max_tokens: that the text encoder reads of a caption; None is what its tokenizer says.

        Raises:
            UserError: the placeholder token has a meaning, the initializer or its file does not fit, or a caption is
                too long.
        """
        check_placeholder(concept, tokenizer)
        if self.init_file is not None:
            read_init_file(self.init_file)
        num_vectors = max(self.num_vectors, self.num_negative_vectors)
        limit = max_tokens or tokenizer.model_max_length - tokenizer.num_special_tokens_to_add()
        check_caption_length(
            concept, tokenizer, captions, limit=limit, num_vectors=num_vectors, extra_tokens=extra_tokens
        )
        for word in self.init_words or ():
            check_single_token(word, tokenizer)
        initializer_ids(concept, tokenizer, num_vectors=self.num_vectors, init=self.init)

    def check_model(self, encoders: Sequence[str], *, has_unet: bool) -> None:
        """Checks that a model supports these settings.

        Args:
            encoders: the model's text encoders.
            has_unet: whether it is a Stable Diffusion 1, 2 or XL.

        Raises:
            UserError: it does not.
        """
        if self.encoders is not None and (not self.encoders or not set(self.encoders) <= set(encoders)):
            raise UserError(
                f"embedding.encoders={self.encoders}: the model has {', '.join(encoders)}. Choose from them, or set "
                f"null for all."
            )
        if self.per_layer and (len(encoders) > 1 or not has_unet):
            raise UserError(
                "embedding.per_layer=true is for Stable Diffusion 1 and 2: SDXL has 70 cross-attention layers and two "
                "text encoders for each, and other models have no U-Net. Set embedding=per_timestep or embedding=token."
            )
        if self.init == "cross" and (self.encoders is not None or not has_unet):
            raise UserError(
                "embedding.init=cross is for Stable Diffusion 1, 2 and XL with embedding.encoders=null. Set "
                "embedding.init=word."
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
        """Returns the vectors at their initial values, float32 on the CPU.

        Args:
            concept: gives the placeholder token and the initializer.
            tokenizers: of each text encoder.
            tables: the frozen vocabulary [V, D] of each text encoder.
            seed: of the run.
            encode_text: of the frozen model, for `init=cross`.
            layers: the cross-attention layers of the frozen model's U-Net, for `per_layer`.

        Raises:
            UserError: the initializer does not fit the number of vectors, or the file does not fit the model.
        """
        assert self.init != "clip", "resolve_initializer() replaces init=clip"
        if self.init == "cross":
            assert encode_text is not None
            widths = {encoder: table_VD.shape[1] for encoder, table_VD in tables.items()}
            outputs = text_encoder_outputs(encode_text, concept.initializer_token or "", widths)
        vectors: dict[str, Tensor] = {}
        for encoder, table in tables.items():
            if self.encoders is not None and encoder not in self.encoders:
                continue
            ids = initializer_ids(concept, tokenizers[encoder], num_vectors=self.num_vectors, init=self.init)
            table_VD = table.detach().cpu()
            if self.init == "random":
                init_KD = init_random(table_VD, self.num_vectors, seed=seed, encoder=encoder)
            elif self.init_file is not None:
                width = table_VD.shape[1]
                init_KD = init_from_file(self.init_file, encoder, num_vectors=self.num_vectors, width=width)
            elif self.init == "mean":
                init_KD = init_from_mean(table_VD, ids, self.num_vectors)
            elif self.init == "vocabulary":
                init_KD = init_from_mean(table_VD, range(len(table_VD)), self.num_vectors)
            elif self.init == "cross":
                init_KD = init_from_tokens(outputs[encoder], range(len(ids)), self.num_vectors)
            else:
                init_KD = init_from_tokens(table_VD, ids, self.num_vectors)
            vectors[encoder] = add_noise(init_KD, table_VD, noise=self.init_noise, seed=seed, encoder=encoder)
        parts = layers if self.per_layer else stage_names(self.timestep_stages)
        parameters = TokenParameters(concept.placeholder_token, vectors, parts, self.num_negative_vectors)
        if (constraint := self.build_norm_constraint(tables)) and constraint.is_exact:
            constraint(parameters)
        return parameters

    def build_norm_constraint(self, tables: Mapping[str, Tensor]) -> NormConstraint | None:
        """Returns the constraint on the norms, given the frozen vocabularies [V, D]; None for `norm=free`."""
        if self.norm == "free":
            return None
        target = mean_norm if self.norm == "directional" else median_norm
        norms = {encoder: target(table_VD) for encoder, table_VD in tables.items()}
        return NormConstraint(norms, strength=self.norm_strength if self.norm == "soft" else 1.0)

    def build_average(self, parameters: TokenParameters) -> EMA | TailAverage | None:
        """Returns the average that the settings ask for, starting from the initial vectors."""
        if self.average_last:
            return TailAverage(parameters, self.average_last)
        return EMA(parameters, self.ema) if self.ema else None
