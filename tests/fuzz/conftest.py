"""`count_cases`: counts the cases of a generator, tries all of them, and fails once with what failed.

`make fuzz` ends with a table of each file's cases. TINV_FUZZ_SEED (0) selects other random cases, TINV_FUZZ_SCALE (1)
multiplies their number.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_PROPERTY = "fuzz_cases"
_NUM_PRINTED = 10


class CaseCounter:
    """Counts the cases of one test.

    ```
    def test_a_damaged_file_is_refused(count_cases: CaseCounter) -> None:
        for number in range(count_cases.scaled(200)):
            with count_cases.case(f"file {number}"):
                assert ...
    ```
    """

    def __init__(self, name: str):
        """`name` is the test's: each test has its own random cases."""
        self.rng = random.Random(f"{os.environ.get('TINV_FUZZ_SEED', 0)} {name}")
        self.num_tried = 0
        self.failures: list[str] = []

    def scaled(self, number: int) -> int:
        """Returns a number of cases times TINV_FUZZ_SCALE, at least 1."""
        return max(1, round(number * float(os.environ.get("TINV_FUZZ_SCALE", 1))))

    @contextmanager
    def case(self, description: object) -> Iterator[None]:
        """Runs one case: any exception fails it, and the test goes on with the next.

        Args:
            description: what is needed to try the case again.
        """
        self.num_tried += 1
        try:
            yield
        except Exception as error:
            self.failures.append(f"{description!r}: {type(error).__name__}: {error}"[:1000])


@pytest.fixture
def count_cases(request: pytest.FixtureRequest) -> CaseCounter:
    """Counts the cases of a test, and has its random numbers."""
    return CaseCounter(request.node.name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fails a test whose cases failed, and passes its counts to the summary, also from a process of pytest-xdist."""
    counter = getattr(item, "funcargs", {}).get("count_cases")
    try:
        yield
    finally:
        if counter:
            item.user_properties.append((_PROPERTY, (counter.num_tried, len(counter.failures))))
    if counter and counter.failures:
        first = "\n".join(counter.failures[:_NUM_PRINTED])
        pytest.fail(f"{len(counter.failures)} of {counter.num_tried} cases failed:\n{first}", pytrace=False)
    if counter and not counter.num_tried:
        pytest.fail("no case was tried", pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the number of cases that were tried and that failed, for each file."""
    tried: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            counts = dict(getattr(report, "user_properties", ())).get(_PROPERTY)
            if counts and report.when == "call":
                file = report.nodeid.partition("::")[0]
                tried[file] += counts[0]
                failed[file] += counts[1]
    if tried:
        terminalreporter.section("fuzz cases")
        rows = [(file, tried[file], failed[file]) for file in sorted(tried)]
        for name, num_tried, num_failed in [*rows, ("all", tried.total(), failed.total())]:
            terminalreporter.write_line(f"{name:<45} {num_tried:>7,} tried, {num_failed:>5,} failed")
