"""Token vectors: how many, and where they start.

K rows, V words, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor

from tinv.concept import Concept
from tinv.embedding.rows import Rows
from tinv.embedding.start import at_random, from_file, from_mean, from_tokens, spread
from tinv.embedding.words import check_placeholder, check_room, initializer_ids
from tinv.errors import UserError

Init = Literal["word", "phrase", "mean", "random", "file"]


@dataclass(frozen=True, kw_only=True)
class TokenEmbedding:
    """The settings of conf/embedding/token; `start` turns them into rows."""

    num_vectors: int = 1
    """K, how many tokens the concept takes. More hold more detail and cost editability; 1 to 8 are usual."""
    init: Init = "word"
    """`word` copies the initializer's one token into every row, `phrase` gives each of its tokens a row, `mean`
    starts all rows at its tokens' mean, `random` draws from the vocabulary's spread, `file` reads `init_file`."""
    init_file: str | None = None
    """An embedding file or a run folder, for `init=file`."""
    init_noise: float = 0.0
    """Added to the start, in units of the vocabulary's standard deviation; 0 to 0.5. Rows that start equal are told
    apart by their positions only, until the gradient parts them."""

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

    def check(self, concept: Concept, tokenizer: Any, captions: Sequence[str]) -> None:
        """Ask the tokenizer alone, which is quick, whether this concept can be learned like this.

        Raises:
            UserError: the placeholder is taken, the initializer cannot start these rows, or they do not fit a caption.
        """
        check_placeholder(concept, tokenizer)
        check_room(concept, tokenizer, captions, num_vectors=self.num_vectors)
        self._initializer_ids(concept, tokenizer)

    def start(self, concept: Concept, *, tokenizer: Any, tables: Mapping[str, Tensor], seed: int) -> Rows:
        """The rows at their start, float32 on the CPU.

        Args:
            concept: gives the placeholder and the initializer.
            tokenizer: gives the initializer's tokens.
            tables: the frozen vocabulary [V, D] of each text encoder.
            seed: of the run.

        Raises:
            UserError: the initializer cannot start these rows, or the file does not fit the model.
        """
        ids = self._initializer_ids(concept, tokenizer)
        rows: dict[str, Tensor] = {}
        for encoder, table in tables.items():
            table_VD = table.detach().cpu()
            if self.init == "random":
                start_KD = at_random(table_VD, self.num_vectors, seed=seed, encoder=encoder)
            elif self.init_file is not None:
                width = table_VD.shape[1]
                start_KD = from_file(self.init_file, encoder, num_vectors=self.num_vectors, width=width)
            elif self.init == "mean":
                start_KD = from_mean(table_VD, ids, self.num_vectors)
            else:
                start_KD = from_tokens(table_VD, ids, self.num_vectors)
            rows[encoder] = spread(start_KD, table_VD, noise=self.init_noise, seed=seed, encoder=encoder)
        return Rows(concept.placeholder, rows)

    def _initializer_ids(self, concept: Concept, tokenizer: Any) -> list[int]:
        if self.init in ("random", "file"):
            return []
        return initializer_ids(concept, tokenizer, num_vectors=self.num_vectors, init=self.init)
