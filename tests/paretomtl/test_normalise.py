"""`normalise="corners"`: the corners first, then preferences in units of what there is to gain."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.points.corners import find_range
from paretomtl.preference import control_error
from studies.analytic import fonseca, linear_regression, zdt2
from tests import toys
from tests.folders import files, logged

SGD = partial(torch.optim.SGD, lr=0.1)
ADAM = partial(torch.optim.Adam, lr=0.03)
QUIET = pytest.mark.filterwarnings("ignore::UserWarning")
pytestmark = QUIET


def scaled(model: Any, batch: Any) -> dict[str, torch.Tensor]:
    """The losses of the toy in other units: one far larger, with an offset."""
    found = toys.losses(model, batch)
    return {"a": 1000 * found["a"] + 50, "b": found["b"]}


def explore(problem: pm.Problem | None = None, solver: pm.Solver | None = None, **changes: Any) -> pm.Front:
    asked = {"preferences": 3, "epochs": 2, "optimizer": SGD} | changes
    return pm.explore(problem or toys.two_regressions(), solver or ps.EPO(), **asked)


def test_the_corners_are_first_and_tell_the_range(tmp_path):
    front = explore(out=tmp_path / "front")
    order = [line["id"] for line in logged(tmp_path / "front", "point")]
    assert order[:2] == ["ideal-1", "ideal-2"]
    assert front.study["normalise"] == "corners"
    assert front.normalisation == find_range(front.corners, front.names)[0]
    for p in front.points:
        losses = front.normalisation.apply(p.losses["validate"])
        assert p.control_error == pytest.approx(float(control_error(losses, np.array(p.preference))))


@pytest.mark.parametrize(
    "solver", [ps.Linear(), ps.SmoothTchebycheff(0.1), ps.EPO(), ps.ParetoMTL(), ps.COSMOS()], ids=repr
)
def test_a_change_of_units_changes_nothing(solver):
    """Losses scaled by 1,000 and shifted by 50 end at the same models; Adam's own corners do not mind a scale."""
    fronts = [
        explore(toys.two_regressions(losses=losses, ref_point=None), solver, optimizer=ADAM, epochs=20)
        for losses in (toys.losses, scaled)
    ]
    plain, other = (front.normalised(front.losses) for front in fronts)
    np.testing.assert_allclose(plain, other, rtol=2e-2, atol=2e-2)
    raw = [
        explore(
            toys.two_regressions(losses=losses, ref_point=[3e3, 3e3]), solver, optimizer=ADAM, epochs=20, normalise=None
        )
        for losses in (toys.losses, scaled)
    ]
    unlike = [
        (front.losses - [offset, 0]) / [scale, 1] for front, scale, offset in zip(raw, (1, 1e3), (0, 50), strict=True)
    ]
    assert np.abs(unlike[0] - unlike[1]).max() > 0.05  # as it is without


@pytest.mark.parametrize("how", [{}, {"fleet": 2}], ids=["one by one", "fleet"])
def test_numbers_given_are_those_of_the_corners(how):
    whole = explore(**how)
    given = explore(preferences=whole.preferences, normalise=whole.normalisation, **how)
    np.testing.assert_array_equal(whole.losses, given.losses)
    assert not given.corners
    assert given.normalisation == whole.normalisation


def test_a_fleet_has_the_numbers_of_points_alone():
    np.testing.assert_allclose(explore(fleet=4).losses, explore().losses, rtol=1e-4)


def test_without_it_losses_stay_as_they_are_and_so_for_a_list():
    assert explore(normalise=None).normalisation is None
    assert explore(preferences=[[0.5, 0.5]]).normalisation is None


def test_a_killed_run_goes_on_to_the_same_front(tmp_path):
    explore(out=tmp_path / "whole")
    stopped = []

    def stop(step: pm.Step) -> None:
        if step.point == "point-002" and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explore(out=tmp_path / "cut", callbacks=[stop])
    explore(out=tmp_path / "cut")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_another_normalise_is_another_study(tmp_path):
    explore(out=tmp_path / "front")
    with pytest.raises(ValueError, match="normalise: corners there, None here"):
        explore(out=tmp_path / "front", normalise=None)


def test_more_seeds_keep_the_range(tmp_path):
    first = explore(out=tmp_path / "front").normalisation
    front = explore(out=tmp_path / "front", seeds=2)
    assert front.normalisation == first
    assert len(front.points) == 6


def test_preferences_added_as_a_list_take_the_range_of_the_folder(tmp_path):
    first = explore(out=tmp_path / "front", solver=ps.Linear())
    rows = [*first.preferences.tolist(), [0.1, 0.9]]
    front = explore(out=tmp_path / "front", solver=ps.Linear(), preferences=rows)
    assert front.normalisation == first.normalisation
    assert len(front.points) == 4


@pytest.mark.fault(109)
def test_a_corner_that_fails_is_told_and_losses_stay_as_they_are():
    def fail(step: pm.Step) -> None:
        if step.point == "ideal-2":
            raise RuntimeError("out of luck")

    with pytest.warns(UserWarning, match="a corner failed in every seed .*so losses are not normalised"):
        front = explore(callbacks=[fail])
    assert front.normalisation == ((0.0, 0.0), (1.0, 1.0))
    plain = explore(normalise=None)
    np.testing.assert_array_equal(front.losses, plain.losses)


def test_a_front_model_takes_short_corners(tmp_path):
    front = explore(
        solver=ps.SmoothTchebycheff(0.1),
        front_model=pm.FiLM(sampling=pm.Sampling("part")),
        epochs=4,
        out=tmp_path / "front",
    )
    assert [p.counts["steps"] for p in front.corners] == [4, 4]  # of 16
    assert front.normalisation is not None
    assert front.ideals is None
    assert explore(solver=ps.Linear(), front_model=pm.FiLM(), normalise=None).corners == ()


def test_refined_preferences_have_the_same_units():
    front = explore(preferences=pm.Refine(2, 4))
    assert front.normalisation is not None
    assert len(front.points) == 4


@pytest.mark.parametrize("problem", [fonseca(), zdt2(), linear_regression()], ids=["Fonseca", "ZDT2", "regression"])
def test_corners_of_exact_problems_tell_the_truth(problem):
    """Where a loss does not conflict with the corner's own, it ends low: else ZDT2's nadir would be 5.5, not 1."""
    front = explore(
        problem,
        ps.Linear(),
        preferences=2,
        epochs=None,
        steps=600,
        optimizer=partial(torch.optim.Adam, lr=0.02),
        fleet=2,
    )
    truth = problem.truth
    assert front.normalisation is not None
    np.testing.assert_allclose(front.normalisation, [truth.ideal, truth.nadir], atol=5e-3)
