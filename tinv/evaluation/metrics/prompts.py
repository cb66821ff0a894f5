"""What is asked for when a word is measured; `{}` is the word."""

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
"""One to be recognised by, places, a colour, a manner, company: what the editing prompts of DreamBooth are of."""
STYLE = (
    "a cat in the style of {}",
    "a house in the style of {}",
    "a red car in the style of {}",
    "a star in the style of {}",
    "a mug on the beach in the style of {}",
    "a robot in the snow in the style of {}",
)
"""Things that the style has to be seen on."""


def prompts_for(kind: str) -> tuple[str, ...]:
    """The prompts for a thing or for a style."""
    return STYLE if kind == "style" else OBJECT


def few_prompts_for(kind: str) -> tuple[str, ...]:
    """Four of them, for measuring on the way: one to be recognised by, a place, a colour, a manner."""
    return STYLE[:4] if kind == "style" else (OBJECT[0], OBJECT[1], OBJECT[5], OBJECT[6])
