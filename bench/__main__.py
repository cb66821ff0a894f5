"""`python -m bench [step] [setting=value ...]`: run the benchmarks, print a table each, keep the figures."""

import sys

from bench import step

BENCHMARKS = {"step": step}


def main(words: list[str]) -> None:
    """Run the named benchmarks, or all."""
    overrides = [word for word in words if "=" in word]
    names = [word for word in words if "=" not in word] or list(BENCHMARKS)
    for name in names:
        if name not in BENCHMARKS:
            sys.exit(f"there is no benchmark {name}; there are {', '.join(BENCHMARKS)}")
        BENCHMARKS[name].run(overrides)


main(sys.argv[1:])
