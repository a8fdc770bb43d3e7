"""The Ray that a sweep runs on: joined or started, and its nodes checked before they get any work."""

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
    "exceptions",
    "first_error_line",
    "list_nodes",
    "ray",
    "tune",
    "wait_for_file",
]

Resources = Mapping[str, int | float]
RAY_NAMES = {"cpu": "CPU", "gpu": "GPU"}  # as Ray counts what is requested in lower case
LATE = 30.0  # seconds until a file written on one node shows on another: as long as NFS may cache a folder
DISK_MARGIN = 1.5  # times the weights to come must be free on a disk


@contextlib.contextmanager
def connect(address: str | None, workers: int | None, resources: Resources) -> Iterator[None]:
    """Connect to a Ray within the context: one that runs is used and left running; else one is joined or started.

    Args:
        address: the address of a cluster, such as "auto" or "10.0.0.1:6379"; by default that in RAY_ADDRESS, which
            `ray job submit` sets; without one, a Ray of our own is started.
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
                f"address={address!r}: no Ray answers there ({first_error_line(error)}); start one with `ray start "
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
    """Return how many workers fit at once, node by node.

    Raises:
        ValueError: none fits, and Ray would wait forever.
    """
    fits = 0
    for node in nodes:
        capacity = node["Resources"]
        shares = [capacity.get(RAY_NAMES.get(kind, kind), 0) / n for kind, n in resources.items() if n > 0]
        fits += int(min(shares, default=0) + 1e-9)
    if not fits:
        has = [{k: v for k, v in node["Resources"].items() if not k.startswith("node:")} for node in nodes]
        raise ValueError(f"resources={dict(resources)}: no worker fits into this Ray, whose nodes have {has}")
    return fits


def list_nodes() -> list[dict[str, Any]]:
    """Return the nodes that are alive, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


@dataclass(frozen=True)
class NodeReport:
    """The report of a node.

    saw: whether it sees a file that was written here.
    wrote: the name of the file that it wrote, or why it could not.
    free: the bytes free in the folder.
    versions: of Python, torch and paretomtl.
    """

    saw: bool
    wrote: str
    free: int
    versions: tuple[str, ...]


def _versions() -> tuple[str, ...]:
    python = ".".join(map(str, sys.version_info[:2]))
    return (f"Python {python}", f"torch {version('torch')}", f"paretomtl {version('paretomtl')}")


def _inspect(folder: str | None, token: str) -> NodeReport:
    """Inspect a node from within; its folder may be another one than the front's, so it only writes a file there."""
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
    """Whether a file that another node wrote exists, or appears within the time that shared disks take."""
    end = time.monotonic() + LATE
    while not path.is_file():
        if not path.parent.is_dir() or time.monotonic() > end:
            return False
        time.sleep(0.1)
        with contextlib.suppress(OSError):
            os.listdir(path.parent)  # makes NFS ask its server again
    return True


def check_nodes(folder: Path | None, needed: int, resources: Resources) -> None:
    """Check that every node that can hold a worker shares the front's folder and runs the same versions as we do.

    Args:
        folder: the front's folder; None where its points are sent through Ray's storage.
        needed: the bytes of all weights to come.
        resources: the resources of a worker.

    Raises:
        OSError: a node does not share the folder, cannot write there or has no room.
        RuntimeError: a node has another version of Python, torch or paretomtl.
    """
    if folder is not None:
        _check_room(files.free_bytes(folder), needed, folder, "here")
    nodes = list_nodes()
    if len(nodes) == 1:  # the machine that we are on
        return
    token = files.temporary_name()
    try:
        if folder is not None:
            (folder / token).touch(exist_ok=False)
        inspect = ray.remote(num_cpus=0, max_retries=1)(_inspect)
        candidates = [node for node in nodes if _can_hold(node, resources)]
        reports = [
            inspect.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                None if folder is None else str(folder), token
            )
            for node in candidates
        ]
        for node, report in zip(candidates, reports, strict=True):
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            _check_node(name, ray.get(report), folder, needed)
    finally:
        if folder is not None:
            (folder / token).unlink(missing_ok=True)


def _can_hold(node: Mapping[str, Any], resources: Resources) -> bool:
    with contextlib.suppress(ValueError):
        return count_workers(resources, [dict(node)]) > 0
    return False


def _check_node(name: str, report: NodeReport, folder: Path | None, needed: int) -> None:
    if report.versions != _versions():
        raise RuntimeError(
            f"node {name} has {', '.join(report.versions)}, and this one {', '.join(_versions())}; points would "
            "differ: install the same on all"
        )
    if folder is None:
        return
    shared = "give an out= on storage that all nodes share, at the same path, or storage_path= to send points through"
    if not report.saw:
        raise OSError(f"node {name} does not see what is written to {folder} here; {shared}")
    if not files.TEMPORARY.fullmatch(report.wrote):
        raise OSError(f"node {name} cannot write to {folder} ({report.wrote}); give it the right to, or another out=")
    visible = wait_for_file(folder / report.wrote)
    (folder / report.wrote).unlink(missing_ok=True)
    if not visible:
        raise OSError(f"node {name} has another folder at {folder}, which this one does not see; {shared}")
    _check_room(report.free, needed, folder, f"on node {name}")


def _check_room(free: int, needed: int, folder: Path, where: str) -> None:
    if free < DISK_MARGIN * needed:
        raise OSError(
            f"{folder} has {free:,} bytes free {where}, and the weights that are to come take {needed:,}; make room, "
            "or give an out= elsewhere"
        )


def first_error_line(error: BaseException) -> str:
    """Return the first line of an error; its class where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
