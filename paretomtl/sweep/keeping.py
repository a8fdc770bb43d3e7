"""From the folder of a study to its front: create or resume it, compute missing points, report, and stop cleanly."""

import contextlib
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from paretomtl.callbacks import Callback
from paretomtl.errors import DamagedFileError, EmptyFrontError, escape_controls
from paretomtl.front import Front
from paretomtl.point import Point
from paretomtl.preflight.description import describe_difference, find_growth, list_unknown
from paretomtl.storage import checkpoints
from paretomtl.storage.schema import expected_ids
from paretomtl.storage.store import Store, TemporaryFolder
from paretomtl.sweep.executor import ComputedPoint, Report
from paretomtl.sweep.growth import check_reference_known
from paretomtl.sweep.interrupt import Interrupted, catch_signals, is_second_signal
from paretomtl.sweep.progress import Progress
from paretomtl.training.study import Study

FOREIGN_LISTED = 3  # the most files of others in a message


def create_or_resume(
    description: dict[str, Any],
    out: str | Path | None,
    compute: Callable[[Store, list[Point]], None],
    verb: str,
    command: Mapping[str, Any] | None = None,
) -> Front:
    """Create or resume the folder of a study, compute the missing points, and read the front.

    Args:
        description: the description of the study, as stored.
        out: the folder; without it, a temporary one that lives as long as the front.
        compute: called with the store and the points that need no more work; it writes the others.
        verb: the name of the function to call to go on, for messages.
        command: the command line that started the study; None if it was started from Python.
    """
    check_reference_known(description)
    temporary = TemporaryFolder() if out is None else None
    store = Store(temporary.folder / "front" if temporary else Path(str(out)))
    with catch_signals():
        is_open = False
        try:
            points = _open_study(store, description, command)
            is_open = True
            compute(store, points)
            checkpoints.clear_checkpoints(store, ())
            store.write_front(store.read_points())
        except KeyboardInterrupt as error:
            raise _interrupted(store, is_open, verb, lasting=temporary is None) from error
        front = Front.load(store.folder, temporary)
        texts = (*front.warnings(), *_placement_warnings(store, front))
        for text in texts:
            store.log("warning", text=text)
        store.log("ended", done=len(front.points) + len(front.corners), failed=len(front.failed))
    for text in texts:
        warnings.warn(text, stacklevel=3)
    if not front.points:
        reasons = "; ".join(dict.fromkeys(str(p.reason) for p in front.failed))
        where = "" if out is None else f". Their records are in {store.folder}"
        raise EmptyFrontError(f"all points failed: {escape_controls(reasons)}{where}")
    return front


def _open_study(store: Store, description: dict[str, Any], command: Mapping[str, Any] | None) -> list[Point]:
    """Create the folder or resume what it holds; return the points that need no more work."""
    if _create_study(store, description, command):
        store.restore(command)  # a kill before study.json was whole leaves temporary files as well
        points = []
    else:
        points = _resume_points(store, description, command)
    store.write_front(points)  # so that the folder is consistent for readers while the rest is computed
    done, n = len(points), len(description["points"])
    store.log("resumed" if done else "started", points=n, left=n - done, host=socket.gethostname())
    return points


def _create_study(store: Store, description: dict[str, Any], command: Mapping[str, Any] | None) -> bool:
    """Create the folder and return True, unless it holds a front or another process is quicker."""
    if store.holds_front():
        return False
    if foreign := store.list_foreign():
        shown = ", ".join(map(repr, foreign[:FOREIGN_LISTED])) + (" …" if len(foreign) > FOREIGN_LISTED else "")
        warnings.warn(
            f"out={str(store.folder)!r} holds no front, but other files ({shown}); the front is written among them: "
            "give a new folder to keep them apart",
            stacklevel=5,
        )
    try:
        store.create(description, command)
    except FileExistsError:
        if not store.holds_front():  # what exists is something else
            raise
        return False
    return True


def _resume_points(store: Store, description: dict[str, Any], command: Mapping[str, Any] | None) -> list[Point]:
    """Return the points that need no more work; raise unless the folder's study is the requested one or grows to it."""
    place = f"out={str(store.folder)!r}"
    try:
        stored = store.study
    except FileNotFoundError as error:
        raise ValueError(f"{place} holds records, but neither study.json nor front.json; give a new out=") from error
    except DamagedFileError as error:
        raise ValueError(f"{place} holds a front that cannot be resumed ({error}); give a new out=") from error
    growth = find_growth(stored, description)
    differences = describe_difference({**stored, **growth}, description)
    if differences:
        raise ValueError(
            f"{place} holds another study. Give a new out=, or go back to what it was made with:\n{differences}"
        )
    if growth:
        store.grow({**stored, **growth, "notes": description["notes"]}, command)
    for text in list_unknown(stored, description):
        store.log("warning", text=text)
        warnings.warn(text, stacklevel=5)
    store.restore(command)
    points = [p for p in store.read_points() if store.is_whole(p)]
    checkpoints.clear_checkpoints(store, {point["id"] for point in store.study["points"]} - {p.id for p in points})
    return points


@contextlib.contextmanager
def reporting(study: Study, store: Store, done: int) -> Iterator[Report]:
    """Report each point to the log and to the progress line; `done` points are done before."""
    n = len(study.places)
    progress = Progress(type(study.solver).__name__, n, study.problem.ref_point, done)  # type: ignore[arg-type]

    def report(news: ComputedPoint | float) -> None:
        if isinstance(news, ComputedPoint):
            store.log("point", id=news.point.id, state=news.point.state, seconds=news.seconds, host=news.host)
            call_back(study, "point", news.point, store)
        progress(news)

    try:
        yield report
    finally:
        progress.close()


def call_back(study: Study, what: str, of: Point | Front, store: Store | None) -> None:
    """Call the method `what` of each callback; what it raises is a warning, for the models are there by then."""
    for callback in study.callbacks:
        if not isinstance(callback, Callback):
            continue
        try:
            getattr(callback, what)(of)
        except Exception as error:
            text = f"{type(callback).__name__}.{what} raised {type(error).__name__}: {error}"
            if store is not None:
                store.log("warning", text=text)
            warnings.warn(text, stacklevel=2)


def _placement_warnings(store: Store, front: Front) -> list[str]:
    missing = len(expected_ids(store.study, front.every)) - len(front.every)
    return [f"{missing} points were not placed: fewer than two of the first round succeeded"] if missing else []


def _interrupted(store: Store, is_open: bool, verb: str, lasting: bool) -> Interrupted:
    """Write front.json from the points that are done, and return an error that says how to go on."""
    if not lasting:
        return Interrupted("stopped; give out= to keep what is done")
    if not is_open:
        return Interrupted(f"stopped before anything new was computed; call {verb} with the same arguments to go on")
    points = [p for p in store.read_points() if p.state != "corrupt"]
    note = ""
    if not is_second_signal():
        try:
            store.write_front(points)
            store.log("interrupted", done=len(points))
        except OSError as error:
            note = f" (front.json is older than they are: {error})"
    return Interrupted(
        f"stopped: {len(points)} of {len(store.study['points'])} points are in {store.folder}{note}; "
        f"call {verb} with the same arguments to go on"
    )
