"""EmbeddingStats logs norm percentiles, cosines and nearest tokens."""

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.tiny import tiny_tokenizer
from tests.training.callbacks.fitting import crash, fit, vectors
from tinv.training.callbacks import Checkpoints, EmbeddingStats
from tinv.training.callbacks.embedding_stats import nearest_tokens, norm_percentiles
from tinv.training.loggers.csv_logger import CSVLogger
from tinv.training.loggers.tensorboard import TensorBoardLogger


def test_a_percentile_counts_the_shorter_embeddings():
    table = torch.diag(torch.arange(1.0, 11.0))
    ten = torch.eye(10)
    assert norm_percentiles(torch.stack([5.5 * ten[0], 0.1 * ten[3], 99 * ten[9]]), table).tolist() == [50, 0, 100]


def test_nearest_tokens_have_the_highest_cosine_and_are_not_special():
    tokenizer = tiny_tokenizer()
    table = torch.randn(len(tokenizer), 16, generator=torch.Generator().manual_seed(0))
    toy, eos = tokenizer.convert_tokens_to_ids("toy</w>"), tokenizer.eos_token_id
    beginning = tokenizer.convert_tokens_to_ids("t")
    vectors_KD = torch.stack([7 * table[toy], table[eos] + 0.1 * table[toy], table[beginning]])
    tokens = nearest_tokens(vectors_KD, table, tokenizer, 3)
    assert (tokens[0][0], tokens[2][0]) == ("toy", "t-") and "<|endoftext|>" not in tokens[1]
    assert [len(row) for row in tokens] == [3, 3, 3]


def test_the_cosine_to_the_initial_vector_decreases(tmp_path, model):
    stats = EmbeddingStats(every_n_steps=4, num_nearest=2)
    fit(tmp_path, model, [stats], num_vectors=2, loggers=[CSVLogger(tmp_path)])
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("embedding/cosine_to_start")
    cosines = {int(line.split(",")[0]): line.split(",")[column] for line in lines[1:]}
    assert [step for step, value in cosines.items() if value] == [0, 4, 6]
    assert float(cosines[0]) == pytest.approx(1) and 1 > float(cosines[4]) > float(cosines[6])
    assert stats.latest["step"] == 6
    assert {name: len(tokens) for name, tokens in stats.latest["nearest"].items()} == {"<cat-toy>": 2, "<cat-toy>_1": 2}


def test_the_initializer_is_nearest_at_step_0(tmp_path, model):
    logger = TensorBoardLogger(tmp_path)
    fit(tmp_path, model, [EmbeddingStats(every_n_steps=1000)], max_steps=1, loggers=[logger])
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    first, last = events.Tensors("embedding/nearest/text_summary")
    assert b"| `<cat-toy>` | toy, " in first.tensor_proto.string_val[0]
    assert (first.step, last.step) == (0, 1)


def test_a_resumed_run_compares_with_the_initial_vectors(tmp_path, model):
    uninterrupted, resumed = EmbeddingStats(), EmbeddingStats()
    fit(tmp_path, model, [uninterrupted], max_steps=5)
    resume = crash(tmp_path, model, [Checkpoints(tmp_path, 2)], 3, max_steps=5)
    module = fit(tmp_path, model, [resumed], max_steps=5, resume=resume)
    assert resumed.latest == uninterrupted.latest
    assert resumed.latest["norm"] == pytest.approx(vectors(module).norm().item())
