import pytest
import torch

from tests.tiny import tiny_data, tiny_images, tiny_model
from tinv.concept import Concept
from tinv.data.fits import crop
from tinv.data.images import cut_picture, open_picture
from tinv.datamodule import ConceptDataModule
from tinv.errors import UserError

CONCEPT = Concept(placeholder="<cat-toy>", initializer="toy")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"))


def test_cached_moments_are_those_of_the_vae_in_both_orientations(model, tmp_path):
    data = tiny_data(tmp_path, model, flip=True)
    assert len(data.shown) == len(data.images) == 3
    for path, shown in zip(data.images, data.shown, strict=True):
        image, _ = open_picture(path, background="white")
        pixels = cut_picture(path, image, crop(image.size, 32)).pixels[None]
        for moments, seen in zip(shown.views.moments, (pixels, pixels.flip(-1)), strict=True):
            assert torch.equal(moments, model.encode_images(seen)[0])
    assert [len(shown.views) for shown in tiny_data(tmp_path, model).shown] == [1, 1, 1]


def test_validation_batches_are_the_same_every_time(model, tmp_path):
    data = tiny_data(tmp_path, model)
    first, second = (list(data.val_dataloader()) for _ in range(2))
    assert sum(len(batch) for batch in first) == 4
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.draws, b.draws) and torch.equal(a.level, b.level) and a.captions == b.captions


def test_styles_get_style_captions_and_own_templates_win(tmp_path):
    folder = str(tiny_images(tmp_path / "pictures"))
    style = ConceptDataModule(concept=Concept(placeholder="<ink>", kind="style"), seed=0, folder=folder)
    assert "a painting in the style of <ink>" in style.captions
    (tmp_path / "own.txt").write_text("my {}\n# not this\n\n{} again\n")
    own = ConceptDataModule(concept=CONCEPT, seed=0, folder=folder, templates_file=str(tmp_path / "own.txt"))
    assert own.captions == dict.fromkeys(["my <cat-toy>", "<cat-toy> again"], str(tmp_path / "own.txt"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fit": "stretch"}, "data.fit must be one of crop, squash"),
        ({"background": "paper"}, "data.background"),
        ({"resolution": 0}, "data.resolution must be 8 or more"),
        ({"batch_size": 0}, "data.batch_size must be 1 or more"),
        ({"num_workers": -1}, "data.num_workers must be 0 or more"),
        ({"repeats": 0}, "data.repeats"),
        ({"val_draws": 0}, "data.val_draws"),
        ({"folder": "/no/such/folder"}, "there is no folder"),
        ({"templates_file": "/no/such/file"}, "data.templates"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_opened(tmp_path, settings, message):
    settings = {"folder": str(tiny_images(tmp_path))} | settings
    with pytest.raises(UserError, match=message):
        ConceptDataModule(concept=CONCEPT, seed=0, **settings)
