"""Drawing with embeddings whose files do not name the text encoder."""

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from tests.models.published import save
from tests.models.published_transformers import TRANSFORMERS, published_transformer, random_rows
from tinv import formats
from tinv.embeddings.init import init_from_file
from tinv.formats import LearnedEmbedding
from tinv.inference.generate import GenerationRequest, generate

NAME = "pixart_sigma"


@pytest.fixture
def rows():
    return random_rows(NAME)


@pytest.fixture
def unnamed(tmp_path, rows):
    """A file of one tensor, as diffusers' scripts write it."""
    file = tmp_path / "learned_embeds.safetensors"
    save_file({"<cat-toy>": rows["t5"]}, file)
    return file


def test_an_unnamed_encoder_is_the_one_of_the_model(tmp_path, rows, unnamed):
    model = save(published_transformer(NAME), tmp_path / "model")
    (named,) = formats.write(tmp_path / "named.safetensors", LearnedEmbedding("<cat-toy>", rows))
    drawn = [
        generate(
            GenerationRequest(
                prompts=["a {}"], embeddings=[file], seeds=[0], num_inference_steps=2, model=str(model), device="cpu"
            ),
            out=tmp_path / f"{file.stem}.png",
            as_grid=False,
        )[0]
        for file in (unnamed, named)
    ]
    assert np.array_equal(*(Image.open(file) for file in drawn))


def test_training_starts_from_the_vectors_of_an_unnamed_encoder(rows, unnamed):
    width = TRANSFORMERS[NAME].widths["t5"]
    assert init_from_file(str(unnamed), "t5", num_vectors=2, width=width).equal(rows["t5"])
