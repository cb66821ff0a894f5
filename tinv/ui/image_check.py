"""Opens an uploaded file in a process of its own with limits, and writes a small copy of the image.

`python -m tinv.ui.image_check FILE COPY` prints JSON: the size and the format, or what is wrong.
"""

import json
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from tinv.data.images import IMAGE_FORMATS, open_image
from tinv.errors import UserError

MAX_BYTES, MAX_SECONDS = 2_000_000_000, 20
"""Of memory and of the processor; the system ends a process that takes more."""
_COPY_SIDE = 512


def main(source: Path, copy: Path) -> dict[str, Any]:
    """Returns the size and the format of an image, or the reason why it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image, alpha = open_image(source, background="white")
            with Image.open(source, formats=IMAGE_FORMATS) as file:
                kind = str(file.format)
    except UserError as error:
        return {"error": str(error).removeprefix(f"{source}: ")}
    except Exception:  # the decoders raise anything
        return {"error": "this is no image that tinv reads"}
    size = image.size
    image.thumbnail((_COPY_SIDE, _COPY_SIDE))
    image.save(copy, format="webp", quality=88, method=2)
    return {"width": size[0], "height": size[1], "format": kind, "has_alpha": alpha is not None}


def _limit_resources() -> None:
    with suppress(ImportError, ValueError, OSError):  # Windows has none; the server's timeout remains
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))


if __name__ == "__main__":
    _limit_resources()
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
