"""What a front's folder holds, for comparison."""

import json
from pathlib import Path


def files(folder: Path) -> dict[str, bytes]:
    """All but the log, the one file that knows when and where."""
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name != "log.jsonl"]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


def logged(folder: Path, event: str) -> list[dict]:
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == event]
