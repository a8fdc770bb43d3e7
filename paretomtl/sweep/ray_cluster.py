"""The Ray that a sweep runs on: found or started, and its nodes looked at before any work is given to them."""

import contextlib
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from paretomtl.storage import files
from paretomtl.sweep.interrupt import restore_handlers

# Read by ray on import: no usage reports, and no output of its own beside our progress line.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # an interrupt is for `explore` to answer

try:
    import ray
    from ray import exceptions, tune
except ImportError as error:
    raise ImportError("sweeps on Ray need ray[tune]: pip install 'paretomtl[ray]'") from error

if not hasattr(tune, "RunConfig"):  # of the versions before, which had it elsewhere
    raise ImportError(f"ray {ray.__version__} is too old: pip install 'paretomtl[ray]', which takes 2.52 or later")

from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

__all__ = [
    "Resources",
    "check_nodes",
    "connect",
    "count_workers",
    "describe_error",
    "exceptions",
    "list_nodes",
    "ray",
    "tune",
    "wait_for_file",
]

Resources = Mapping[str, int | float]
COUNTED = {"cpu": "CPU", "gpu": "GPU"}  # asked for in lower case, counted in upper
LATE = 30.0  # seconds until a file that was written on one node is seen on another: as long as NFS may cache a folder
MARGIN = 1.5  # times the weights that are to come: what must be free on a disk


@contextlib.contextmanager
def connect(address: str | None, workers: int | None, resources: Resources) -> Iterator[None]:
    """A Ray within: one that runs is used and left running; else that of the address is joined, or one is started.

    Args:
        address: of a cluster, such as "auto" or "10.0.0.1:6379"; by default that in RAY_ADDRESS, as `ray job submit`
            sets it, and where there is none a Ray of our own.
        workers, resources: what a Ray of our own must have room for.
    """
    address = address or os.environ.get("RAY_ADDRESS") or None
    if ray.is_initialized():
        _check_same(address)
        yield
        return
    own: dict[str, Any] = {"address": "local", "include_dashboard": False}  # not one that `ray start` left here
    if address is None and workers is not None:
        own["num_cpus"] = math.ceil(workers * resources.get("cpu", 1))
    joined: dict[str, Any] = own if address is None else {"address": _strip_scheme(address)}
    with restore_handlers():  # Ray's handler of SIGTERM ends the process, where `explore` would say how to go on
        try:
            ray.init(**joined, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            if address is None:
                raise
            raise ConnectionError(
                f"address={address!r}: no Ray answers there ({describe_error(error)}); start one with `ray start "
                "--head` and run this on one of its nodes, or leave address out for a Ray of this machine"
            ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _strip_scheme(address: str) -> str:
    if address.startswith("ray://"):
        raise ValueError(
            f"address={address!r}: a sweep cannot be led from outside of the cluster, where its front would be; send "
            "it there with `ray job submit`, or run it on a node, with address='auto'"
        )
    return address


def _check_same(address: str | None) -> None:
    from ray.util.client import ray as client

    if client.is_connected():
        _strip_scheme("ray://")
    here = ray.get_runtime_context().gcs_address
    if address not in (None, "auto", here):
        raise ValueError(
            f"address={address!r}, but this process has joined {here}; leave address out, or call ray.shutdown() first"
        )


def count_workers(resources: Resources, nodes: list[dict[str, Any]]) -> int:
    """How many workers fit at once, node by node.

    Raises:
        ValueError: not one does, and Ray would wait for it without end.
    """
    fits = 0
    for node in nodes:
        there = node["Resources"]
        shares = [there.get(COUNTED.get(kind, kind), 0) / n for kind, n in resources.items() if n > 0]
        fits += int(min(shares, default=0) + 1e-9)
    if not fits:
        has = [{k: v for k, v in node["Resources"].items() if not k.startswith("node:")} for node in nodes]
        raise ValueError(f"resources={dict(resources)}: no worker fits into this Ray, whose nodes have {has}")
    return fits


def list_nodes() -> list[dict[str, Any]]:
    """Those that are alive, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


@dataclass(frozen=True)
class NodeReport:
    """What a node says of itself: whether it sees a file that was written here, what it wrote, and what it has."""

    saw: bool
    wrote: str
    free: int
    versions: tuple[str, ...]


def _versions() -> tuple[str, ...]:
    python = ".".join(map(str, sys.version_info[:2]))
    return (f"Python {python}", f"torch {version('torch')}", f"paretomtl {version('paretomtl')}")


def _inspect(folder: str | None, token: str) -> NodeReport:
    """Runs on a node. Its folder may be none of the front's at all, so nothing is made there but a file."""
    if folder is None:
        return NodeReport(True, "", sys.maxsize, _versions())
    place = Path(folder)
    saw = wait_for_file(place / token)
    name, why = files.temporary_name(), ""
    try:
        (place / name).touch(exist_ok=False)
    except OSError as error:
        name, why = "", f"{type(error).__name__}: {error.strerror}"
    return NodeReport(saw, name or why, files.free_bytes(place) if place.is_dir() else 0, _versions())


def wait_for_file(path: Path) -> bool:
    """Whether a file that another node wrote is there, or comes within the time that shared disks take."""
    end = time.monotonic() + LATE
    while not path.is_file():
        if not path.parent.is_dir() or time.monotonic() > end:
            return False
        time.sleep(0.1)
        with contextlib.suppress(OSError):
            os.listdir(path.parent)  # makes NFS ask its server again
    return True


def check_nodes(folder: Path | None, needed: int, resources: Resources) -> None:
    """Whether every node that can hold a worker sees the front's folder, can write there, and runs what we run.

    Args:
        folder: of the front; None where its points are sent through Ray's storage.
        needed: bytes of all that is to be written.
        resources: of a worker.

    Raises:
        OSError: a node does not share the folder, cannot write there or has no room; its name, and what to do.
        RuntimeError: a node has another version of Python, torch or paretomtl.
    """
    if folder is not None:
        _check_room(files.free_bytes(folder), needed, folder, "here")
    there = list_nodes()
    if len(there) == 1:  # the machine that we are on
        return
    token = files.temporary_name()
    try:
        if folder is not None:
            (folder / token).touch(exist_ok=False)
        look = ray.remote(num_cpus=0, max_retries=1)(_inspect)
        fit = [node for node in there if _can_hold(node, resources)]
        asked = [
            look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                None if folder is None else str(folder), token
            )
            for node in fit
        ]
        for node, answer in zip(fit, asked, strict=True):
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            _check_node(name, ray.get(answer), folder, needed)
    finally:
        if folder is not None:
            (folder / token).unlink(missing_ok=True)


def _can_hold(node: Mapping[str, Any], resources: Resources) -> bool:
    with contextlib.suppress(ValueError):
        return count_workers(resources, [dict(node)]) > 0
    return False


def _check_node(name: str, found: NodeReport, folder: Path | None, needed: int) -> None:
    if found.versions != _versions():
        raise RuntimeError(
            f"node {name} has {', '.join(found.versions)}, and this one {', '.join(_versions())}; points would differ: "
            "install the same on all"
        )
    if folder is None:
        return
    shared = "give an out= on storage that all nodes share, at the same path, or storage_path= to send points through"
    if not found.saw:
        raise OSError(f"node {name} does not see what is written to {folder} here; {shared}")
    if not files.TEMPORARY.fullmatch(found.wrote):
        raise OSError(f"node {name} cannot write to {folder} ({found.wrote}); give it the right to, or another out=")
    there = wait_for_file(folder / found.wrote)
    (folder / found.wrote).unlink(missing_ok=True)
    if not there:
        raise OSError(f"node {name} has another folder at {folder}, which this one does not see; {shared}")
    _check_room(found.free, needed, folder, f"on node {name}")


def _check_room(free: int, needed: int, folder: Path, where: str) -> None:
    if free < MARGIN * needed:
        raise OSError(
            f"{folder} has {free:,} bytes free {where}, and the weights that are to come take {needed:,}; make room, "
            "or give an out= elsewhere"
        )


def describe_error(error: BaseException) -> str:
    """What an error says first; its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
