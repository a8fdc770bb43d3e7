"""Points as a CSV table, written and read. A spreadsheet takes no cell for a formula."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paretomtl.point import Point

FORMULA = ("=", "+", "-", "@", "\t", "\n")
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
    writer.writerow([escape_formula(column) for column in columns])
    for row in rows:
        writer.writerow(
            ["" if cell is None else escape_formula(cell) if isinstance(cell, str) else cell for cell in row]
        )
    return out.getvalue()


def escape_formula(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # csv leaves a bare carriage return unquoted
    return f"'{text}" if text.startswith(FORMULA) else text


def _unescape_formula(text: str) -> str:
    """Undo `escape_formula`."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text


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
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        head = [_unescape_formula(cell.strip()) for cell in next(reader, [])]
        rows = []
        for cells in reader:
            row = [cell.strip() for cell in cells]
            if row in ([], [""]):
                continue
            if len(rows) >= MOST_ROWS:
                raise ValueError(f"more than {MOST_ROWS:,} rows")
            rows.append((reader.line_num, row))
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path} is not a table of points: {error}") from error
    if len(set(head)) < len(head):
        raise ValueError(f"{path}: two columns have one name, of {head}")
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
