"""One HTML file from a template, with its styles, scripts and numbers inside.

Everything that comes from a run is escaped by the template engine. Beyond that the page itself forbids the browser to
run any script but its own, told by its hash, and to fetch anything at all.
"""

import os
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tinv import __version__
from tinv.sweeps.results_table import format_duration

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = (
    "dom",
    "scale",
    "colour",
    "highlight",
    "tooltip",
    "line_chart",
    "curves",
    "effects",
    "parallel",
    "table",
    "album",
    "viewer",
    "copy",
)
"""In the order in which they build on each other."""


def render(template: str, **context: Any) -> str:
    """The page.

    Args:
        template: a file in assets/.
        context: what it shows; `data` goes to the scripts.
    """
    style = _read("style.css")
    script = "(() => {\n'use strict';\n" + "\n".join(_read(f"{name}.js") for name in SCRIPTS) + "\n})();"
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    engine = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    engine.filters |= {"duration": format_duration, "figure": figure}
    engine.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    page = engine.get_template(template)
    return page.render(style=Markup(style), script=Markup(script), policy=policy, version=__version__, **context)


def figure(value: float | None) -> str:
    """A number as it is read."""
    return "" if value is None else f"{value:.4g}" if abs(value) < 1e4 or abs(value) >= 1e15 else f"{value:,.0f}"


def link(target: Path, output: Path) -> str:
    """The address of a file or folder, as seen from the page."""
    try:
        relative = os.path.relpath(target.resolve(), output.resolve().parent)
    except ValueError:  # on another drive
        return target.resolve().as_uri()
    return quote(f"./{Path(relative).as_posix()}")


def _read(name: str) -> str:
    text = (ASSETS / name).read_text(encoding="utf-8")
    assert "</s" not in text.lower(), f"{name} would end its own tag"
    return text


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
