"""Fronts as a text, and bad tables of CSV; how they go both ways is in test_exchange."""

import os
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import paretomtl as pm
from paretomtl.storage import table
from tests.fronts import failed, point, stored


def test_table(tmp_path):
    corner = point("ideal-1", (0.1, 10.0), preference=(1.0, 0.0), corner="a")
    made = stored(tmp_path, [point("p1", (0.5, 1.0), preference=(0.25, 0.75)), failed("p2"), corner])
    assert made.table().splitlines() == [
        "point      r a    r b  validate a  validate b  off ray  status",
        "p1       0.250  0.750      0.5000      1.0000    1.00°  solved",
        "ideal-1  1.000  0.000      0.1000     10.0000           alone",
        "p2       0.500  0.500                                   failed: nan in 'a' at step 3",
    ]


@pytest.mark.parametrize("names", [("a", "b", "c"), ("a", "b", "c", "d")])
def test_table_of_more_objectives(tmp_path, names):
    m = len(names)
    made = stored(tmp_path, [point("p1", (0.5,) * m), failed("p2", m)], names)
    lines = made.table().splitlines()
    assert len(lines) == 3
    assert lines[1].count("0.5000") == m
    assert "failed: nan" in lines[2]


def test_table_shows_measures_and_failed_corners(tmp_path):
    good = point("p1", (0.5, 1.0), values={"validate": (81.25, 3.0)})
    corner = replace(failed("ideal-1"), corner="a")
    objectives = [pm.Objective("a", unit="%", goal="max"), "b"]
    head, first, second = stored(tmp_path, [good, corner], objectives, measured=True).table().splitlines()
    assert "a [%]  b [measure]" in head
    assert "0.5000" in first
    assert "81.25" in first
    assert second.endswith("  failed: nan in 'a' at step 3")


CONTROLS = "\x1b[31m\n\r\t=1+1\x00\u202e\u2028 \ud800\\"


@pytest.mark.fault(121)
def test_texts_from_elsewhere_are_one_line(tmp_path):
    """In the table and in warnings; a reader of CSV gets them back."""
    odd = replace(failed("p2"), reason=CONTROLS)
    good = replace(point("p1", (0.5, 1.0)), status=CONTROLS, warnings=(CONTROLS,))
    front = pm.Front.from_values([[0.5, 1.0]], ["a", "b"], [2.0, 2.0])
    front = pm.Front(front.study | {"notes": [CONTROLS]}, [good, odd])
    assert all(line.isprintable() for line in front.table().split("\n"))
    assert len(front.table().split("\n")) == 3
    assert sum(r"\x1b[31m\n\r\t=1+1" in text for text in front.warnings()) == 3
    assert all(text.isprintable() for text in front.warnings())
    path = front.to_csv(tmp_path / "points.csv")
    assert all(line.isprintable() for line in path.read_text().split("\n"))
    head, rows = table.read_columns(path)
    assert [row[head.index("reason")] for _, row in rows] == ["", CONTROLS]
    assert [row[head.index("status")] for _, row in rows] == [CONTROLS, ""]


@pytest.mark.fault(121)
@given(st.text(st.characters(exclude_categories=())))
@example("'=1")
@example("''\\n=1")
@example(r"C:\new")
@example("\\\n")
def test_a_text_comes_back_from_a_cell(text):
    cell = table.escape_cell(text)
    assert cell.isprintable()
    assert not cell.lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))
    assert table.unescape_cell(cell) == text


PLAIN = "a,b\n0.5,1.0\n1.0,0.5\n"


def read(tmp_path, content, objectives=None):
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return pm.Front.from_csv(path, [2.0, 2.0], objectives)


@pytest.mark.fault(40)
def test_what_is_no_finite_number_is_refused_by_its_line(tmp_path):
    with pytest.raises(ValueError, match="every row needs finite numbers") as caught:
        read(tmp_path, "a,b\n0.5,1\nnan,1\n\n1,inf\n,1\n1,high\n2,2\n")
    expected = ("line 3: a is 'nan'", "line 5: b is 'inf'", "line 6: a is ''", "line 7: b is 'high'. Mend")
    assert all(text in str(caught.value) for text in expected)
    with pytest.raises(ValueError, match="line 6: a is 'nan', and 95 more"):
        read(tmp_path, "a,b\n" + "nan,1\n" * 100)


@pytest.mark.parametrize(
    ("content", "objectives", "said"),
    [
        (PLAIN, ["a", "c"], "there is no column 'c'; it has 'a', 'b'"),
        ("a,b\n1,2\n0,5,1,2\n1\n", None, "line 3 has 4 cells; line 4 has 1 cells, the header has 2"),
        ("a,b,a\n1,2,3\n", None, "two columns have one name"),
        ("", None, "there is no point in it"),
        ("", ["a", "b"], "there is no column 'a'; it has none"),
        ("a,b\n", None, "there is no point in it"),
        ("a,b\n1,é\n".encode("latin-1"), None, "is not a table of points: .*utf-8"),
        (PLAIN.encode("utf-16"), None, "is not a table of points"),
        ('a,b\n"1,2\n', None, "is not a table of points: unexpected end of data"),
        ("id,a,b\np,1,2\np,2,1\n", None, "ids: 1 different ones for 2 points"),
        ("id,seed,state,value validate a,value validate b\np,-1,done,1,2\n", None, "a seed is not a whole number"),
        ("id,seed,state,value validate a,value validate b\np,1e9,done,1,2\n", None, "a seed is not a whole number"),
    ],
)
def test_tables_that_are_refused(tmp_path, content, objectives, said):
    with pytest.raises(ValueError, match=said):
        read(tmp_path, content, objectives)


@pytest.mark.fault(88)
def test_tables_of_absurd_size_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 2**40)
    with pytest.raises(ValueError, match=r"large.csv has 1,099,511,627,776 bytes; a table of points has at most"):
        pm.Front.from_csv(path, [1.0, 1.0])
    monkeypatch.setattr(table, "MOST_ROWS", 2)
    assert len(read(tmp_path, PLAIN)) == 2
    with pytest.raises(ValueError, match="more than 2 rows"):
        read(tmp_path, f"{PLAIN}2,2\n")
    monkeypatch.setattr(table, "MOST_CELLS", 2)
    with pytest.raises(ValueError, match="more than 2 cells"):
        read(tmp_path, PLAIN)
    for other in ("/dev/zero", tmp_path):
        with pytest.raises(ValueError, match="is not a plain file"):
            pm.Front.from_csv(other, [1.0, 1.0])
