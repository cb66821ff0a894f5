"""`python -m tinv.toybench`: a word for each of the twelve, measured; a minute or two a word on a CPU.

    python -m tinv.toybench                                          # outputs/toybench_all
    python -m tinv.toybench --out outputs/ema embedding.ema=0.99     # with other settings, in a folder of its own

Typed again, it goes on with what is not done.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tinv.benchmark.training import places, train
from tinv.errors import UserError
from tinv.toybench import NAMES
from tinv.toybench.fidelity import measure


def typed(out: Path, names: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """What is typed behind `train.py`."""
    return ["-m", "+experiment=toybench", *overrides, *places(out), f"concept.name={','.join(names)}"]


def main() -> int:
    """Do what is left, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tinv.toybench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("overrides", nargs="*", metavar="SETTING", help="of the runs: seed=0,1 optimizer.lr=5e-3 ...")
    parser.add_argument("--out", type=Path, default=Path("outputs/toybench_all"), help="default: outputs/toybench_all")
    parser.add_argument("--names", type=lambda text: text.split(","), default=NAMES, help="some of the twelve")
    arguments = parser.parse_args()
    try:
        measure([train(arguments.out, typed(arguments.out, arguments.names, arguments.overrides))])
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
