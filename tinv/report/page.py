"""Renders a page: one HTML file from a template, with styles, scripts and data inside.

The template engine escapes everything that comes from a run. In addition, the content security policy of the page
allows only its own script, by hash, and no requests.
"""

import os
from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tinv import __version__
from tinv.sweeps.results_table import format_duration

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = "dom scale color highlight tooltip line_chart curves effects parallel table contact_sheet viewer copy".split()
"""In the order of their dependencies."""


def render(template: str, **context: Any) -> str:
    """Returns the page of a template in assets/, with the variables of the context; `data` is for the scripts."""
    style, script = read_assets("style.css"), bundle_scripts(SCRIPTS)
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_csp_hash(style)}'; script-src '{_csp_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    page = make_engine(ASSETS).get_template(template)
    return page.render(style=Markup(style), script=Markup(script), policy=policy, version=__version__, **context)


def make_engine(*folders: Path) -> Environment:
    """Returns an engine for the templates in folders, which escapes what it inserts and refuses missing variables."""
    loader = FileSystemLoader(folders)
    engine = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    engine.filters |= {"format_duration": format_duration, "format_number": format_number}
    engine.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return engine


def bundle_scripts(names: Iterable[str], *, folders: Sequence[Path] = (ASSETS,)) -> str:
    """Returns one script with modules of the folders, in which each sees those before it, and no other script does."""
    modules = read_assets(*(f"{name}.js" for name in names), folders=folders)
    return f"(() => {{\n'use strict';\n{modules}\n}})();"


def format_number(value: float | None) -> str:
    """Formats a number with four significant digits, or with thousands separators."""
    return "" if value is None else f"{value:.4g}" if abs(value) < 1e4 or abs(value) >= 1e15 else f"{value:,.0f}"


def link(target: Path, output: Path) -> str:
    """Returns the URL of a file or folder, relative to the page."""
    try:
        relative = os.path.relpath(target.resolve(), output.resolve().parent)
    except ValueError:  # on another drive
        return target.resolve().as_uri()
    return quote(f"./{Path(relative).as_posix()}")


def read_assets(*names: str, folders: Sequence[Path] = (ASSETS,)) -> str:
    """Returns the text of files, each from the first of the folders that has it."""
    paths = [next(path for folder in folders if (path := folder / name).is_file()) for name in names]
    text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    assert "</s" not in text.lower(), f"one of {', '.join(names)} would end its own tag"
    return text


def _csp_hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
