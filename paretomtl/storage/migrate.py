"""Migration of a folder of an older version to the present schema; only on request, never while reading."""

import json
from pathlib import Path

from paretomtl.errors import DamagedFileError
from paretomtl.storage import files, schema
from paretomtl.storage.log import log_line
from paretomtl.storage.store import MOST_BYTES, Store
from paretomtl.storage.verify import verify


def migrate(folder: str | Path) -> tuple[int, int]:
    """Rewrite all files but weights in the present schema; return the schema before and after.

    A migration can be stopped at any moment and started again: study.json, which completes it, is written last.

    Raises:
        DamagedFileError: a file is not as it was written; nothing was changed.
    """
    store = Store(folder)
    before = store.schema
    if before == schema.SCHEMA:
        if not (store.folder / "study.json").exists():
            store.restore()  # stopped before the last write
        return before, schema.SCHEMA
    damaged = verify(folder).damaged
    if damaged:
        faults = "; ".join(f"{name}: {why}" for name, why in damaged.items())
        raise DamagedFileError(f"{store.folder} is damaged, and nothing was changed; mend or remove first: {faults}")
    points, log = store.read_points(), _seal_log(store)
    store.layout = schema.SCHEMA
    store.__dict__.pop("id", None)  # of the schema before
    for point in points:
        store.write_point(point, None)
    if log is not None:
        files.write(store.folder / "log.jsonl", log)
    store.write_front(points)
    store.restore()
    return before, schema.SCHEMA


def _seal_log(store: Store) -> bytes | None:
    """Return the log with every line sealed."""
    try:
        lines = files.read(store.folder / "log.jsonl", MOST_BYTES["log"]).splitlines()
    except FileNotFoundError:
        return None
    entries = map(json.loads, lines)
    return b"".join(log_line({key: value for key, value in line.items() if key != "seal"}) for line in entries)
