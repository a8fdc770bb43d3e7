"""Callbacks on Ray: steps on the workers, points and the end here; TensorBoard's files from all of them."""

import os
from pathlib import Path

import pytest

import paretomtl as pm
import paretomtl_solvers as ps
from tests import toys
from tests.folders import files

pytestmark = pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning")


class Where(pm.Callback):
    """Leaves a file by the name of what was told and the process that was told of it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def step(self, step: pm.Step) -> None:
        (self.folder / f"step-{os.getpid()}").touch()

    def point(self, point: pm.Point) -> None:
        (self.folder / f"point-{os.getpid()}-{point.id}").touch()

    def end(self, front: pm.Front) -> None:
        (self.folder / f"end-{os.getpid()}").touch()


def test_steps_are_told_there_and_points_and_the_end_here(running, tmp_path, monkeypatch):
    (tmp_path / "told").mkdir()
    monkeypatch.chdir(tmp_path)
    callbacks = [Where(tmp_path / "told"), pm.TensorBoard("board")]
    front = pm.explore(
        toys.two_regressions(), ps.Linear(), preferences=2, epochs=2,
        executor=pm.RayTune(workers=1), callbacks=callbacks,
    )  # fmt: skip
    ids = {p.id for p in (*front.points, *front.corners)}
    told, here = {path.name for path in (tmp_path / "told").iterdir()}, os.getpid()
    assert {name for name in told if not name.startswith("step")} == {
        f"end-{here}",
        *(f"point-{here}-{id}" for id in ids),
    }
    steps = {name for name in told if name.startswith("step")}
    assert steps
    assert f"step-{here}" not in steps
    assert {path.name for path in (tmp_path / "board").iterdir()} == ids | {"front"}
    for id in ids:  # of the worker, and of this process, which adds the measures
        assert len(list((tmp_path / "board" / id).iterdir())) == 2


def test_recorders_record_there_what_they_record_here(running, tmp_path):
    recorders = [pm.diagnosis.ConflictRecorder(every=2), pm.diagnosis.AffinityRecorder(0.01, every=3)]
    options = {"preferences": [[0.3, 0.7], [0.6, 0.4]], "epochs": 2, "callbacks": recorders, "normalise": None}
    there = pm.explore(
        toys.two_regressions(), ps.Linear(), out=tmp_path / "there", executor=pm.RayTune(workers=1), **options
    )
    pm.explore(toys.two_regressions(), ps.Linear(), out=tmp_path / "here", **options)
    assert [entry["step"] for entry in there.recordings(there.points[0])["conflict"]] == [0, 2, 4, 6]
    assert files(tmp_path / "there") == files(tmp_path / "here")
