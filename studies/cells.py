"""Results of long studies, a file each: computed in processes of one thread, stored whole, and gone on with."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch


def slug(name: str) -> str:
    """Turn a name into a folder's."""
    return name.lower().replace(", ", "-").replace(" ", "-")


def read_result(path: Path, protocol: dict[str, Any]) -> Any:
    """Return the result that is stored, if it is of this protocol; else None."""
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    return content["result"] if content["protocol"] == protocol else None


def write_result(path: Path, protocol: dict[str, Any], result: Any) -> None:
    """Write a result, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps({"protocol": protocol, "result": result}))
    scratch.replace(path)


def compute_all(compute: Callable[[Any], Any], tasks: Sequence[Any], jobs: int) -> Iterator[Any]:
    """Compute tasks in processes, and yield what each returned as they end."""
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        futures = [pool.submit(compute, task) for task in tasks]
        try:
            yield from (future.result() for future in as_completed(futures))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
