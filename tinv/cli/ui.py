"""`tinv ui`: serves a page that shows and steers runs."""

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Adds the parser of the command."""
    command = commands.add_parser(
        "ui",
        help="open a page in the browser that shows runs live and steers them",
        description="Serve a page on this machine that shows the runs of a folder live and steers them. It can be "
        "ended and started at any time; runs go on. See docs/ui.md.",
        epilog="example: tinv ui outputs --open",
    )
    command.set_defaults(command=run)
    command.add_argument(
        "folder", nargs="?", type=Path, default=Path("outputs"), metavar="FOLDER", help="of the runs (default: outputs)"
    )
    command.add_argument("--port", type=int, default=7878, help="0 chooses a free one (default: 7878)")
    command.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: this machine alone; any other needs the token in the printed address)",
    )
    command.add_argument(
        "--keep-model",
        type=float,
        default=5.0,
        metavar="MINUTES",
        help="how long a process with a loaded model waits for more work (default: 5)",
    )
    command.add_argument("--open", action="store_true", help="open the page in the browser")


def run(arguments: argparse.Namespace) -> None:
    """Serves the page until Ctrl-C."""
    try:
        from tinv.ui.server import serve
    except ImportError as error:
        from tinv.errors import UserError
        from tinv.optional_deps import install_hint

        package = error.name or ""
        raise UserError(f"tinv ui: the package {package} is missing{install_hint(package)}") from error
    options = {"host": arguments.host, "port": arguments.port, "open_browser": arguments.open}
    serve(arguments.folder, **options, keep_model_s=60 * arguments.keep_model)
