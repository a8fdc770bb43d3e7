"""What a sweep writes for TensorBoard, read back as TensorBoard reads it."""

import pickle
import sys
import warnings

import cloudpickle
import numpy as np
import pytest

import paretomtl as pm
import paretomtl_solvers as ps
from tests import toys

RUN = {"preferences": [[0.3, 0.7], [0.6, 0.4]], "epochs": 2}


def explore(*callbacks, **changes):
    return pm.explore(toys.two_regressions(), ps.Linear(), callbacks=callbacks, **RUN | changes)


def events(folder):
    with warnings.catch_warnings():
        # TensorBoard's reader asks numpy and protobuf for what they have renamed; what we write is not in question
        warnings.simplefilter("ignore", DeprecationWarning)
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        return EventAccumulator(str(folder)).Reload()


def scalars(folder):
    read = events(folder)
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_losses_and_weights_by_step_are_those_that_callbacks_are_told(tmp_path):
    told = []
    front = explore(told.append, pm.TensorBoard(tmp_path))
    for point in front.points:
        steps = [step for step in told if step.point == point.id]
        found = scalars(tmp_path / point.id)
        for what in ("loss", "weight"):
            for name in ("a", "b"):
                expected = [(s.step, getattr(s, "losses" if what == "loss" else "weights")[name]) for s in steps]
                np.testing.assert_allclose(found[f"{what}/{name}"], expected, rtol=1e-6)
        n = point.counts["steps"]
        for k, name in enumerate(front.names):
            np.testing.assert_allclose(found[f"validate loss/{name}"], [(n, point.losses["validate"][k])], rtol=1e-6)
            np.testing.assert_allclose(found[f"validate measure/{name}"], [(n, point.values["validate"][k])], rtol=1e-6)
        np.testing.assert_allclose(found["control error"], [(n, point.control_error)], rtol=1e-5)


def test_the_end_has_score_table_and_figure(tmp_path):
    front = explore(pm.TensorBoard(tmp_path))
    found = scalars(tmp_path / "front")
    np.testing.assert_allclose(found["score/hypervolume"], [(0, front.hypervolume())], rtol=1e-6)
    assert found["score/n_points"] == [(0, 2)]
    assert "score/igd_plus" not in found  # undefined, as there is no reference front
    read = events(tmp_path / "front")
    assert set(read.Tags()["tensors"]) == {"table/text_summary", "score/text_summary"}
    (image,) = read.Images("front")
    assert (image.width, image.height) == (960, 720)


def test_every_so_many_steps(tmp_path):
    explore(pm.TensorBoard(tmp_path / "all"))
    explore(pm.TensorBoard(tmp_path / "third", every=3))
    whole, third = (scalars(tmp_path / name / "point-001")["loss/a"] for name in ("all", "third"))
    assert len(whole) > 6
    assert third == whole[::3]


def test_what_is_computed_again_replaces_what_was_written(tmp_path):
    step = pm.Step("point-001", np.array([0.5, 0.5]), 0, 0, {"a": 1.0}, {})
    first = pm.TensorBoard(tmp_path)
    for k in range(5):
        first.step(step._replace(step=k, losses={"a": 1.0}))
    again = pm.TensorBoard(tmp_path)  # of a process that goes on from a checkpoint after step 2
    for k in range(3, 6):
        again.step(step._replace(step=k, losses={"a": 2.0}))
    assert scalars(tmp_path / "point-001")["loss/a"] == [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 2)]


@pytest.mark.parametrize("through", [pickle, cloudpickle])
def test_it_travels_with_its_files_closed_and_its_folder_kept(tmp_path, monkeypatch, through):
    monkeypatch.chdir(tmp_path)
    here = pm.TensorBoard("runs")
    step = pm.Step("point-001", np.array([0.5, 0.5]), 0, 0, {"a": 1.0}, {})
    here.step(step)
    there = through.loads(cloudpickle.dumps(here))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # as a worker of Ray
    there.step(step._replace(point="point-002"))
    assert scalars(tmp_path / "runs" / "point-002")["loss/a"] == [(0, 1)]
    assert scalars(tmp_path / "runs" / "point-001")["loss/a"] == [(0, 1)]


def test_all_points_failed(tmp_path):
    def fails(step):
        raise RuntimeError("enough")

    with pytest.warns(UserWarning), pytest.raises(pm.EmptyFrontError):  # noqa: PT030 - of the points
        explore(fails, pm.TensorBoard(tmp_path))
    assert not (tmp_path / "front").exists()


def test_without_tensorboard_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"TensorBoard needs tensorboard: pip install 'paretomtl\[tensorboard\]'"):
        pm.TensorBoard(tmp_path)


@pytest.mark.parametrize("every", [0, -1, 2.0, True])
def test_what_is_no_number_of_steps_is_refused(unchecked, tmp_path, every):
    with pytest.raises(ValueError, match=r"every=.*: give a whole number of steps of at least 1"):
        pm.TensorBoard(tmp_path, every)
