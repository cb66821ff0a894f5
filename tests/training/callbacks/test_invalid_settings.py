"""Callbacks refuse invalid settings when they are created."""

from pathlib import Path

import pytest

from tinv.errors import UserError
from tinv.training import callbacks


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: callbacks.CheckLearning(0), r"callbacks\.check_learning\.after_steps=0: must be 1 or more"),
        (
            lambda: callbacks.Checkpoints(Path(), total_limit=0),
            r"callbacks\.checkpoints\.total_limit=0: must be 1 or more",
        ),
        (lambda: callbacks.DVARStopping(draws=0), r"early_stopping\.draws=0: must be 1 or more"),
        (lambda: callbacks.DVARStopping(window=1), r"early_stopping\.window=1: must be 2 or more"),
        (lambda: callbacks.DVARStopping(stride=0), r"early_stopping\.stride=0: must be 1 or more"),
        (lambda: callbacks.DVARStopping(threshold=1.0), r"early_stopping\.threshold=1\.0: must be between 0 and 1"),
        (lambda: callbacks.EarlyStopping(patience=0), r"early_stopping\.patience=0: must be 1 or more"),
        (lambda: callbacks.EarlyStopping(min_delta=-1), r"early_stopping\.min_delta=-1: must be 0 or more"),
        (lambda: callbacks.EarlyStopping(min_steps=-1), r"early_stopping\.min_steps=-1: must be 0 or more"),
        (lambda: callbacks.EarlyStopping(monitor=None), r"early_stopping\.monitor=null: must name a metric"),
        (
            lambda: callbacks.EmbeddingStats(num_nearest=0),
            r"callbacks\.embedding_stats\.num_nearest=0: must be 1 or more",
        ),
        (lambda: callbacks.Evaluation(0), r"every_n_steps=0: must be 1 or more"),
        (lambda: callbacks.Evaluation(4, seeds=[]), "seeds: needs a seed"),
        (lambda: callbacks.Evaluation(4, ["a cat"]), "must contain"),
        (
            lambda: callbacks.Export(Path(), formats=["x"]),
            r"formats=\['x'\]: unknown formats\. .* diffusers, .*, pipeline",
        ),
        (lambda: callbacks.Export(Path(), total_limit=0), r"callbacks\.export\.total_limit=0: must be 1 or more"),
        (lambda: callbacks.KeepBest(monitor=None), r"keep\.monitor=null: must name a metric"),
        (lambda: callbacks.KeepBest(mode="least"), r"keep\.mode=least: must be auto, min or max"),
        (lambda: callbacks.ProgressFile(Path(), every_s=-1), r"every_s=-1: must be 0 or more"),
        (lambda: callbacks.Samples(Path(), [], [0]), "needs a prompt and a seed"),
        (lambda: callbacks.Samples(Path(), ["a } of"], [0]), "stray brace"),
        (lambda: callbacks.Samples(Path(), ["a {name}"], [0]), "stray brace"),
        (lambda: callbacks.Samples(Path(), ["{{}}"], [0]), "stray brace"),
        (
            lambda: callbacks.Samples(Path(), ["{}"], [0], every_n_steps=-2),
            r"samples\.every_n_steps=-2: must be 1 or more",
        ),
        (lambda: callbacks.Samples(Path(), ["{}"], [0], batch_size=0), r"batch_size=0: must be 1 or more"),
    ],
)
def test_invalid_settings_raise(make, message):
    with pytest.raises(UserError, match=message):
        make()
