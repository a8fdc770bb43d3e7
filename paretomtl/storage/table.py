"""Points as a CSV table, written and read. No text breaks a line, and a spreadsheet takes none for a formula."""

import ast
import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paretomtl.errors import escape_controls
from paretomtl.point import Point

FORMULA = re.compile(r"'*\s*[=+\-@＝＋－＠]|'*[\t\r\n]")
ESCAPE = re.compile(r"\\(?:[\\nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
OURS = ["id", "seed", "corner", "state"]  # the first columns of our tables
MOST_CELLS = 2**24
MOST_TABLE_BYTES = 2**28
MOST_ROWS = 1_000_000
NAMES_LISTED = 5  # the most invalid lines in a message


def table_cells(points: Sequence[Point], names: Sequence[str]) -> tuple[list[str], list[list[Any]]]:
    """Return the columns, and one row a point; None where a point has no value."""
    splits = sorted({split for p in points for split in p.losses}, reverse=True)
    columns = ["id", "seed", "corner", "state", *(f"preference {n}" for n in names)]
    columns += [f"{part} {split} {n}" for part in ("loss", "value") for split in splits for n in names]
    error_splits = sorted({split for p in points for split in p.errors}, reverse=True)
    columns += [f"error {split} {n}" for split in error_splits for n in names]
    columns += ["control_error", "status", "reason", "weights"]
    nothing, rows = (None,) * len(names), []
    for p in points:
        values = [n for part in (p.losses, p.values) for split in splits for n in part.get(split, nothing)]
        values += [n for split in error_splits for n in p.errors.get(split, nothing)]
        row = [p.id, p.seed, p.corner, p.state, *(p.preference or nothing), *values]
        rows.append([*row, p.control_error, p.verdict or None, p.reason, p.weights])
    return columns, rows


def format_csv(points: Sequence[Point], names: Sequence[str]) -> str:
    """Format a header, and one row a point."""
    columns, rows = table_cells(points, names)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([escape_cell(column) for column in columns])
    for row in rows:
        writer.writerow(["" if cell is None else escape_cell(cell) if isinstance(cell, str) else cell for cell in row])
    return out.getvalue()


def escape_cell(text: str) -> str:
    """Return a text as one line that no spreadsheet takes for a formula; `unescape_cell` gives the text back."""
    before = "'" if FORMULA.match(text) else ""
    if not text.isprintable() or ESCAPE.search(text):
        text = escape_controls(text.replace("\\", "\\\\"))
    return before + text


def unescape_cell(cell: str) -> str:
    """Return the text that `escape_cell` was given."""
    return _unquote_formula(ESCAPE.sub(lambda match: ast.literal_eval(f"'{match[0]}'"), cell))


def _unquote_formula(text: str) -> str:
    return text[1:] if text.startswith("'") and FORMULA.match(text[1:]) else text


def read_columns(path: str | Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read the header and the rows of a CSV file, each row with its line number; sizes are checked first."""
    path = Path(path)
    size = path.stat().st_size
    if not path.is_file():
        raise ValueError(f"{path} is not a plain file")
    if size > MOST_TABLE_BYTES:
        raise ValueError(f"{path} has {size:,} bytes; a table of points has at most {MOST_TABLE_BYTES:,}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if text.count(",") > MOST_CELLS:
            raise ValueError(f"more than {MOST_CELLS:,} cells")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        head = next(reader, [])
        is_ours = head[: len(OURS)] == OURS
        head = [unescape_cell(cell) if is_ours else _unquote_formula(cell.strip()) for cell in head]
        rows = []
        for cells in reader:
            row = [unescape_cell(cell) if is_ours else cell.strip() for cell in cells]
            if row in ([], [""]):
                continue
            if len(rows) >= MOST_ROWS:
                raise ValueError(f"more than {MOST_ROWS:,} rows")
            rows.append((reader.line_num, row))
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path} is not a table of points: {error}") from error
    if len(set(head)) < len(head):
        raise ValueError(f"{path}: two columns have one name, of {shorten_list([*map(repr, head)])}")
    ragged = [f"line {line} has {len(row)} cells" for line, row in rows if len(row) != len(head)]
    if ragged:  # a decimal comma, say, would put numbers under the wrong names
        raise ValueError(f"{path}: {shorten_list(ragged)}, the header has {len(head)}. Mend or remove these lines")
    return head, rows


def parse_numbers(path: str | Path, rows: Sequence[tuple[int, list[str]]], head: Sequence[str], names: Sequence[str]):
    """Parse the named columns as finite numbers; other values raise an error that lists their lines."""
    matrix, faults = [], []
    places = [head.index(name) for name in names]
    for line, row in rows:
        values = []
        for name, place in zip(names, places, strict=True):
            try:
                values.append(float(row[place]))
            except ValueError:
                values.append(math.nan)
            if not math.isfinite(values[-1]):
                faults.append(f"line {line}: {name} is {row[place][:40]!r}")
        matrix.append(values)
    if faults:
        raise ValueError(f"{path}: every row needs finite numbers; {shorten_list(faults)}. Mend or remove these lines")
    return matrix


def shorten_list(texts: Sequence[str]) -> str:
    """Join the first texts, and count the rest."""
    return "; ".join(texts[:NAMES_LISTED]) + (
        f", and {len(texts) - NAMES_LISTED} more" if len(texts) > NAMES_LISTED else ""
    )
