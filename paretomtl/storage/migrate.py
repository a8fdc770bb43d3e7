"""Bringing a front's folder of an older version to the present schema; only when asked to, reading never does it."""

import json
from pathlib import Path

from paretomtl.errors import DamagedFileError
from paretomtl.storage import files, schema
from paretomtl.storage.store import MOST_BYTES, Store, log_line
from paretomtl.storage.verify import verify


def migrate(folder: str | Path) -> tuple[int, int]:
    """Write every file of ours anew in the present schema, weights excepted; the schema before and after.

    It may be stopped at any moment and begun again: study.json, which ends it, is written last.

    Raises:
        DamagedFile: a file is not as it was written; nothing was changed.
    """
    store = Store(folder)
    before = store.schema
    if before == schema.SCHEMA:
        if not (store.folder / "study.json").exists():
            store.restore()  # stopped before the last write
        return before, schema.SCHEMA
    damaged = verify(folder).damaged
    if damaged:
        told = "; ".join(f"{name}: {why}" for name, why in damaged.items())
        raise DamagedFileError(f"{store.folder} is damaged, and nothing was changed; mend or remove first: {told}")
    points, log = store.read_points(), _log(store)
    for point in points:
        store.write_point(point, None)
    if log is not None:
        files.write(store.folder / "log.jsonl", log)
    store.write_front(points)
    store.restore()
    return before, schema.SCHEMA


def _log(store: Store) -> bytes | None:
    """The log with every line sealed."""
    try:
        lines = files.read(store.folder / "log.jsonl", MOST_BYTES["log"]).splitlines()
    except FileNotFoundError:
        return None
    found = map(json.loads, lines)
    return b"".join(log_line({key: value for key, value in line.items() if key != "seal"}) for line in found)
