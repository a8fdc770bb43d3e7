"""The rows of docs/faults.md beside the tests that cover them: python -m tests.fault_matrix."""

import contextlib
import re
import sys
import textwrap
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "faults.md"
SELECTED = "fault and not slow and not gpu and not bench"
ROWS = 126
WORST = ("passing", "skipped", "failing")  # a test is what the worst of its phases is
STATE = re.compile(r"tested|later|does not apply: \S.*")


class Row(NamedTuple):
    """One row of the page; its state is "tested", "later" or "does not apply: why"."""

    number: int
    bad_input: str
    happens: str
    state: str

    @property
    def kind(self) -> str:
        return self.state.partition(":")[0]


class Recorder:
    """A plugin of pytest that keeps, of each test, the rows that it carries and how it ended."""

    def __init__(self):
        self.rows: dict[str, set[int]] = {}
        self.ended: dict[str, str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            self.rows[item.nodeid] = {row for mark in item.iter_markers("fault") for row in mark.args}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        now = {"passed": "passing", "skipped": "skipped", "failed": "failing"}[report.outcome]
        self.ended[report.nodeid] = max(now, self.ended.get(report.nodeid, "passing"), key=WORST.index)

    def outcomes(self) -> dict[int, Counter[str]]:
        """Of each row, how many tests passed, failed, or were skipped."""
        found: dict[int, Counter[str]] = defaultdict(Counter)
        for test, ended in self.ended.items():
            for row in self.rows[test]:
                found[row][ended] += 1
        return dict(found)


def read_rows(text: str) -> list[Row]:
    """The rows of all tables of the page, as they stand there."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [Row(int(number), *rest) for number, *rest in cells if number.isdigit()]


def faults_of(rows: Sequence[Row], outcomes: Mapping[int, Counter[str]]) -> list[str]:
    """All that keeps the matrix from being whole: none, and it may be believed."""
    count = Counter(row.number for row in rows)
    found = [f"row {n} is {count[n]} times in the page" for n in range(1, ROWS + 1) if count[n] != 1]
    found += [f"row {n} is no row of the table" for n in sorted({*count, *outcomes} - {*range(1, ROWS + 1)})]
    found += [f"row {row.number} has the unknown state {row.state!r}" for row in rows if not STATE.fullmatch(row.state)]
    found += [
        f"row {row.number} is called tested and has no passing test"
        for row in rows
        if row.kind == "tested" and not outcomes.get(row.number, Counter())["passing"]
    ]
    found += [f"row {n} has a failing test" for n in sorted(outcomes) if outcomes[n]["failing"]]
    return found


def matrix(rows: Sequence[Row], outcomes: Mapping[int, Counter[str]]) -> str:
    """The table, one row a line, and the totals below."""
    lines = [f"{'row':>3}  {'bad input':<60}  {'state':<14}  passing  failing  skipped"]
    for row in rows:
        text = textwrap.shorten(row.bad_input.replace("`", ""), 60, placeholder=" …")
        count = outcomes.get(row.number, Counter())
        numbers = "  ".join(f"{count[ended] or '':>7}" for ended in ("passing", "failing", "skipped"))
        lines.append(f"{row.number:>3}  {text:<60}  {row.kind:<14}  {numbers}".rstrip())
    kinds = Counter(row.kind for row in rows)
    passing = sum(row.kind == "tested" and outcomes.get(row.number, Counter())["passing"] > 0 for row in rows)
    lines.append(
        f"{passing} of {len(rows)} rows have a passing test; {kinds['does not apply']} do not apply; "
        f"{kinds['later']} are not built yet"
    )
    return "\n".join(lines)


def main(tests: Path = Path(__file__).parent, page: Path = PAGE) -> int:
    """Run the tests of the rows, print the matrix; the exit code is 0 where nothing is amiss."""
    recorder = Recorder()
    with contextlib.redirect_stdout(sys.stderr):  # of the two, only the matrix is the result
        code = int(pytest.main(["-q", "--tb=line", "-m", SELECTED, str(tests)], plugins=[recorder]))
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return code  # interrupted, or not even collected: there is nothing to count
    rows, outcomes = read_rows(page.read_text(encoding="utf-8")), recorder.outcomes()
    amiss = faults_of(rows, outcomes)
    print(matrix(rows, outcomes))
    for line in amiss:
        print(line, file=sys.stderr)
    return code or int(bool(amiss))


if __name__ == "__main__":
    sys.exit(main())
