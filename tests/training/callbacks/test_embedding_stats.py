"""The vitals are what they say: percentiles, cosines, nearest words."""

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.tiny import tiny_tokenizer
from tests.training.callbacks.fitting import Interrupt, fit, rows
from tinv.errors import UserError
from tinv.models import LatentDiffusion
from tinv.training.callbacks import Checkpoints, EmbeddingStats
from tinv.training.callbacks.embedding_stats import nearest_tokens, norm_percentiles
from tinv.training.loggers.csv_logger import CSVLogger
from tinv.training.loggers.tensorboard import TensorBoardLogger


def test_a_percentile_counts_the_words_that_are_shorter() -> None:
    table = torch.diag(torch.arange(1.0, 11.0))
    ten = torch.eye(10)
    assert norm_percentiles(torch.stack([5.5 * ten[0], 0.1 * ten[3], 99 * ten[9]]), table).tolist() == [50, 0, 100]


def test_the_nearest_tokens_are_those_of_the_smallest_angle_and_never_special_ones() -> None:
    tokenizer = tiny_tokenizer()
    table = torch.randn(len(tokenizer), 16, generator=torch.Generator().manual_seed(0))
    toy, eos = tokenizer.convert_tokens_to_ids("toy</w>"), tokenizer.eos_token_id
    beginning = tokenizer.convert_tokens_to_ids("t")
    wanted = torch.stack([7 * table[toy], table[eos] + 0.1 * table[toy], table[beginning]])
    found = nearest_tokens(wanted, table, tokenizer, 3)
    assert found[0][0] == "toy"
    assert "<|endoftext|>" not in found[1]
    assert found[2][0] == "t-"
    assert [len(words) for words in found] == [3, 3, 3]


def test_a_run_begins_at_its_start_and_moves_away_from_it(tmp_path: Path, model: LatentDiffusion) -> None:
    vitals = EmbeddingStats(every_n_steps=4, num_nearest=2)
    fit(tmp_path, model, [vitals], num_vectors=2, loggers=[CSVLogger(tmp_path)])
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("embedding/cosine_to_start")
    cosines = {int(line.split(",")[0]): line.split(",")[column] for line in lines[1:]}
    assert [step for step, value in cosines.items() if value] == [0, 4, 6]
    assert float(cosines[0]) == pytest.approx(1)
    assert 1 > float(cosines[4]) > float(cosines[6])
    assert vitals.latest["step"] == 6
    assert {word: len(near) for word, near in vitals.latest["nearest"].items()} == {"<cat-toy>": 2, "<cat-toy>_1": 2}


def test_before_the_first_step_the_initializer_is_the_nearest_word(tmp_path: Path, model: LatentDiffusion) -> None:
    board = TensorBoardLogger(tmp_path)
    fit(tmp_path, model, [EmbeddingStats(every_n_steps=1000)], max_steps=1, loggers=[board])
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    first, last = events.Tensors("embedding/nearest/text_summary")
    assert b"| `<cat-toy>` | toy, " in first.tensor_proto.string_val[0]
    assert (first.step, last.step) == (0, 1)


def test_a_resumed_run_is_compared_with_its_very_start(tmp_path: Path, model: LatentDiffusion) -> None:
    unbroken, resumed = EmbeddingStats(), EmbeddingStats()
    fit(tmp_path, model, [unbroken], max_steps=5)
    with pytest.raises(RuntimeError):
        fit(tmp_path, model, [Checkpoints(tmp_path, 2), Interrupt(3, RuntimeError())], max_steps=5)
    module = fit(tmp_path, model, [resumed], max_steps=5, resume=tmp_path / "checkpoints/step_000002.ckpt")
    assert resumed.latest == unbroken.latest
    assert resumed.latest["norm"] == pytest.approx(rows(module).norm().item())


def test_naming_no_word_is_refused() -> None:
    with pytest.raises(UserError, match=r"callbacks\.embedding_stats\.num_nearest must be 1 or more, got 0"):
        EmbeddingStats(num_nearest=0)
