"""`tinv preview`: shows the training examples of a run."""

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Adds the parser of the command."""
    command = commands.add_parser(
        "preview",
        help="show a run's training examples: images, crops, masks, captions",
        description="Draw the first training examples of a run with their captions; masked areas are red.",
        epilog="example: tinv preview +experiment=cat_toy data.flip=true data.captions=names",
    )
    command.set_defaults(command=run)
    command.add_argument("overrides", nargs="*", metavar="SETTING", help="as for train.py")
    command.add_argument("--config-dir", metavar="DIR", help="a folder with your own groups, as for train.py")
    command.add_argument("--samples", type=int, default=24, help="number of training examples (default: 24)")
    command.add_argument("--out", type=Path, default=Path("preview.png"), help="default: preview.png")


def run(arguments: argparse.Namespace) -> None:
    """Draws the examples and prints how each image is processed."""
    from tinv.config.compose import Groups
    from tinv.config.override_errors import find_problems
    from tinv.config.validate import ConfigError, build, check
    from tinv.errors import require_minimum
    from tinv.training.preview import native_resolution, preview

    require_minimum("--samples", arguments.samples, 1)
    groups = Groups(arguments.config_dir)
    if problems := find_problems(groups, arguments.overrides):
        raise ConfigError(problems)
    cfg = check(groups.compose(arguments.overrides))
    model = {key: cfg.model.get(key) for key in ("revision", "config")}
    nodes = [cfg.data, *(node.data for node in cfg.extra_concepts.values())]
    is_set = all(node.resolution for node in nodes)
    resolution = cfg.data.resolution if is_set else native_resolution(cfg.model.pretrained, **model)
    parts = [build(node) for node in nodes]
    lines = preview(parts, resolution=resolution, num_samples=arguments.samples, out=arguments.out)
    print("\n".join([*lines, str(arguments.out)]))
