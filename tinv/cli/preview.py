"""`tinv preview`: look at what a run will see, before it runs."""

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Describe the command and its options."""
    command = commands.add_parser(
        "preview",
        help="look at what a run will see: pictures, crops, masks, captions",
        description="Draw the first samples of a run as it will see them, with their captions; masked places are red.",
        epilog="example: tinv preview +experiment=cat_toy data.flip=true data.captions=names",
    )
    command.set_defaults(command=run)
    command.add_argument("overrides", nargs="*", metavar="SETTING", help="the same as for train.py")
    command.add_argument("--config-dir", metavar="DIR", help="a folder with groups of your own")
    command.add_argument("--samples", type=int, default=24, help="how many samples (default 24)")
    command.add_argument("--out", type=Path, default=Path("preview.png"), help="the sheet (default: preview.png)")


def run(arguments: argparse.Namespace) -> None:
    """Draw, and say what each picture becomes."""
    from tinv.config.compose import Groups
    from tinv.config.override_errors import find_problems
    from tinv.config.validate import ConfigError, build, check
    from tinv.errors import UserError
    from tinv.training.preview import native_resolution, preview

    if arguments.samples < 1:
        raise UserError(f"--samples must be 1 or more, got {arguments.samples}")
    groups = Groups(arguments.config_dir)
    if problems := find_problems(groups, arguments.overrides):
        raise ConfigError(problems)
    cfg = check(groups.compose(arguments.overrides))
    model = {key: cfg.model.get(key) for key in ("revision", "config")}
    nodes = [cfg.data, *(node.data for node in cfg.extra_concepts.values())]
    is_told = all(node.resolution for node in nodes)
    resolution = cfg.data.resolution if is_told else native_resolution(cfg.model.pretrained, **model)
    parts = [build(node) for node in nodes]
    lines = preview(parts, resolution=resolution, num_samples=arguments.samples, out=arguments.out)
    print("\n".join([*lines, str(arguments.out)]))
