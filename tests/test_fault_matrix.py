"""The page of bad input is whole, its promises are marked in the tests, and the matrix tells the truth of them."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.fault_matrix import PAGE, ROWS, Row, faults_of, matrix, read_rows

ROOT = Path(__file__).parent.parent
WHOLE = [Row(n, f"input `{n}`", "error", "tested") for n in range(1, ROWS - 1)]
WHOLE += [Row(ROWS - 1, "input", "nothing", "does not apply: why"), Row(ROWS, "input", "planned", "later")]
PASSING = {n: Counter(passing=2) for n in range(1, ROWS - 1)}


def changed(n, **fields):
    return [row._replace(**fields) if row.number == n else row for row in WHOLE]


@pytest.fixture(scope="module")
def rows():
    return read_rows(PAGE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def marked():
    """The rows that a `fault` in the tests' source names by its number."""
    found = set()
    for path in Path(__file__).parent.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
                found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return found


def test_the_page_has_each_row_once_in_order_with_a_state_that_is_known(rows):
    assert [row.number for row in rows] == list(range(1, ROWS + 1))
    assert faults_of(rows, {row.number: Counter(passing=1) for row in rows}) == []
    assert all(row.bad_input and row.happens for row in rows)


def test_what_is_called_tested_is_marked_in_a_test(rows, marked):
    assert [row.number for row in rows if row.kind == "tested" and row.number not in marked] == []


def test_marks_name_rows_of_the_page(rows, marked):
    assert marked <= {row.number for row in rows}


def test_a_whole_matrix_has_nothing_amiss():
    assert faults_of(WHOLE, PASSING) == []


@pytest.mark.parametrize(
    ("rows", "outcomes", "said"),
    [
        (WHOLE, PASSING | {3: Counter()}, "row 3 is called tested and has no passing test"),
        (WHOLE, PASSING | {3: Counter(skipped=4)}, "row 3 is called tested and has no passing test"),
        (WHOLE, PASSING | {3: Counter(passing=4, failing=1)}, "row 3 has a failing test"),
        (WHOLE, PASSING | {ROWS: Counter(failing=1)}, f"row {ROWS} has a failing test"),
        (WHOLE, PASSING | {ROWS + 1: Counter(passing=1)}, f"row {ROWS + 1} is no row of the table"),
        (WHOLE[1:], PASSING, "row 1 is 0 times in the page"),
        ([*WHOLE, WHOLE[4]], PASSING, "row 5 is 2 times in the page"),
        (changed(7, state="soon"), PASSING, "row 7 has the unknown state 'soon'"),
        (changed(ROWS, state="does not apply"), PASSING, f"row {ROWS} has the unknown state 'does not apply'"),
    ],
)
def test_what_is_amiss_is_named(rows, outcomes, said):
    assert said in faults_of(rows, outcomes)


def test_the_matrix_is_aligned_and_ends_with_the_totals():
    lines = matrix(
        changed(2, bad_input="long " * 30), PASSING | {1: Counter(passing=12, skipped=3, failing=1)}
    ).splitlines()
    assert len(lines) == 1 + ROWS + 1
    assert lines[0].split() == ["row", "bad", "input", "state", "passing", "failing", "skipped"]
    assert lines[1].split() == ["1", "input", "1", "tested", "12", "1", "3"]
    assert lines[2].index("tested") == lines[1].index("tested") == lines[ROWS].index("later")
    assert all(line[lines[0].index("passing") + 6] in "2" for line in lines[1 : ROWS - 1])
    expected = f"{ROWS - 2} of {ROWS} rows have a passing test; 1 do not apply; 1 are not built yet"
    assert lines[-1] == expected


TESTS = """
import pytest

@pytest.fixture
def late():
    yield
    {after}

@pytest.mark.parametrize("n", [pytest.param(n, marks=pytest.mark.fault(n)) for n in range(1, {last})])
def test_row(n, late):
    {body}

def test_of_no_row():
    assert False, "not to be run"

@pytest.mark.slow
@pytest.mark.fault(1)
def test_that_is_slow():
    assert False, "not to be run"
"""


@pytest.mark.parametrize(
    ("body", "after", "code", "row_3", "said"),
    [
        ("pass", "pass", 0, "1", ""),
        ("if n == 3: pytest.skip()", "pass", 1, "1", "row 3 is called tested and has no passing test"),
        ("assert n != 3", "pass", 1, "1", "row 3 has a failing test"),
        ("pass", "assert False", 1, "1", "row 3 has a failing test"),
        ("this is no Python", "pass", 2, None, "SyntaxError"),
    ],
    ids=["whole", "skipped", "failing", "failing when torn down", "not collected"],
)
def test_the_command(tmp_path, body, after, code, row_3, said):
    page, tests = tmp_path / "faults.md", tmp_path / "tests"
    page.write_text("".join(f"| {row.number} | {row.bad_input} | {row.happens} | {row.state} |\n" for row in WHOLE))
    tests.mkdir()
    (tests / "test_rows.py").write_text(TESTS.format(body=body, after=after, last=ROWS - 1))
    command = f"import sys; from tests.fault_matrix import *; sys.exit(main(Path({str(tests)!r}), Path({str(page)!r})))"
    run = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == code, run.stderr
    assert said in run.stderr
    lines = [line for line in run.stdout.splitlines() if line.split()[0] == "3"]
    assert [line.split()[-1] for line in lines] == ([] if row_3 is None else [row_3])
    assert (len(run.stdout.splitlines()) == ROWS + 2) == bool(lines)
