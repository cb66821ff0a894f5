"""The default prompts of an evaluation; `{}` is the placeholder token."""

OBJECT = (
    "a photo of a {}",
    "a {} on the beach",
    "a {} in the snow",
    "a {} on a wooden table",
    "a {} in front of a brick wall",
    "a red {}",
    "a drawing of a {}",
    "a {} next to a cat",
)
"""A plain photo, then scenes, a color, a medium, and a second object, like the editing prompts of DreamBooth."""
STYLE = (
    "a cat in the style of {}",
    "a house in the style of {}",
    "a red car in the style of {}",
    "a star in the style of {}",
    "a mug on the beach in the style of {}",
    "a robot in the snow in the style of {}",
)


def prompts_for(kind: str) -> tuple[str, ...]:
    """Returns the prompts for an `object` or a `style`."""
    return STYLE if kind == "style" else OBJECT


def few_prompts_for(kind: str) -> tuple[str, ...]:
    """Returns four prompts, for evaluation during training."""
    return STYLE[:4] if kind == "style" else (OBJECT[0], OBJECT[1], OBJECT[5], OBJECT[6])
