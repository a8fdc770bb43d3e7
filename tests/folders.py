"""What a front's folder holds, for comparison."""

import json
from pathlib import Path

import pytest


def files(folder: Path) -> dict[str, bytes]:
    """All but the log, the one file that knows when and where."""
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name != "log.jsonl"]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


def logged(folder: Path, event: str) -> list[dict]:
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == event]


def everything(folder: Path) -> dict[str, bytes]:
    return files(folder) | {"log.jsonl": (folder / "log.jsonl").read_bytes()}


def differences(error: pytest.ExceptionInfo) -> list[str]:
    """The lines of a refusal that name what differs."""
    head, *lines = str(error.value).splitlines()
    assert "holds another study. Give a new out=, or go back to what it was made with:" in head
    return [line.strip() for line in lines]
