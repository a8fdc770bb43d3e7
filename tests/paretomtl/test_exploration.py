"""`explore` as a whole: what it refuses, what it warns of, and that equal calls give equal bytes."""

import ast
import gc
import os
import pty
import random
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.solver import solved_status
from tests import toys
from tests.folders import files, logged

ROOT = Path(pm.__file__).parents[1]
SGD = partial(torch.optim.SGD, lr=0.1)
THREE = [[0.2, 0.8], [0.5, 0.5], [0.8, 0.2]]

off_ray_is_fine = pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning")


# --- what is refused ---


@pytest.mark.parametrize(
    ("budget", "named"),
    [
        ({}, "epochs=None, steps=None: give one of the two"),
        ({"epochs": 2, "steps": 3}, "epochs=2, steps=3: give one of the two"),
        ({"epochs": 0}, "epochs=0: give a whole number of at least 1"),
        ({"steps": -1}, "steps=-1: give a whole number of at least 1"),
        ({"epochs": 1.5}, "epochs=1.5: give a whole number of at least 1"),
        ({"steps": True}, "steps=True: give a whole number of at least 1"),
    ],
)
def test_a_budget_is_epochs_or_steps(unchecked, budget, named):
    with pytest.raises(ValueError, match=re.escape(named)):
        pm.explore(toys.two_regressions(), ps.Linear(), preferences=1, **budget)


def test_a_deterministic_problem_needs_steps():
    with pytest.raises(ValueError, match=r"deterministic.*give steps="):
        pm.explore(two_bowls(), ps.Linear(), preferences=1, epochs=3)


@pytest.mark.parametrize(
    ("solver", "named"),
    [
        (ps.Linear, "is not a Solver; give an instance"),
        ("EPO", "'EPO' is not a Solver"),
        (None, "None is not a Solver"),
    ],
)
def test_what_is_no_solver(unchecked, solver, named):
    with pytest.raises(TypeError, match=named):
        pm.explore(toys.two_regressions(), solver, preferences=1, epochs=1)


@dataclass(frozen=True)
class Blind(pm.Scalarization):
    uses_preference = False

    def update(self, state, losses, preference):
        return torch.full_like(preference, 0.5), state, solved_status(losses)


@pytest.mark.parametrize("preferences", [2, THREE])
def test_a_solver_that_ignores_preferences_gets_one(preferences):
    with pytest.raises(ValueError, match=r"Blind ignores preferences.*preferences=1"):
        pm.explore(toys.two_regressions(), Blind(), preferences=preferences, epochs=1)
    assert len(pm.explore(toys.two_regressions(), Blind(), preferences=1, epochs=1)) == 1


@pytest.mark.fault(74)
def test_a_folder_that_holds_another_study_is_not_written_to(tmp_path):
    out = tmp_path / "front"
    out.mkdir()
    run = partial(pm.explore, toys.two_regressions(), ps.Linear(), epochs=1, out=out)
    run(preferences=[[0.5, 0.5]])
    before = files(out), (out / "log.jsonl").read_bytes()
    for _ in range(2):  # the second time without front.json
        with pytest.raises(ValueError, match=r"front' holds another study\. Give a new out=") as refused:
            run(preferences=2)
        assert "preferences, point-001: [0.5, 0.5] there, [0.333" in str(refused.value)
        assert (files(out), (out / "log.jsonl").read_bytes()) == before
        (out / "front.json").unlink(missing_ok=True)
        before[0].pop("front.json", None)
    run(preferences=[[0.5, 0.5]])
    assert (out / "front.json").exists()


# --- preferences ---


def test_a_number_of_preferences_is_an_even_design_with_the_corners_apart():
    run = partial(pm.explore, toys.two_regressions(), ps.Linear(), epochs=1, optimizer=SGD, normalise=None)
    front = run(preferences=3)
    assert front.preferences.tolist() == [[0.25, 0.75], [0.5, 0.5], [0.75, 0.25]]
    assert [p.corner for p in front.corners] == ["a", "b"]
    assert front.ideals is not None
    assert front.ideals.tolist() == [front.corners[0].losses["validate"][0], front.corners[1].losses["validate"][1]]
    alone = run(preferences=[[1.0, 0.0]])
    assert alone.points[0].weights == front.corners[0].weights


def test_a_list_of_preferences_has_no_corners():
    front = pm.explore(toys.two_regressions(), ps.Linear(), preferences=THREE, epochs=1)
    assert np.allclose(front.preferences, THREE, atol=0, rtol=1e-15)
    assert front.corners == ()
    assert front.ideals is None


# --- warnings and failures ---


def constant_b(model, batch):
    return toys.losses(model, batch) | {"b": 1 + 0 * model.trunk.weight.sum()}


@off_ray_is_fine
@pytest.mark.fault(15)
@pytest.mark.parametrize("solver", [ps.Linear(), ps.EPO()])
def test_an_objective_that_never_moves_is_warned_of(tmp_path, solver):
    with pytest.warns(UserWarning, match="no trade-off on 'b'"):
        front = pm.explore(
            toys.two_regressions(losses=constant_b),
            solver,
            preferences=THREE,
            epochs=3,
            optimizer=SGD,
            out=tmp_path / "f",
        )
    assert [line["text"] for line in logged(front.folder, "warning")] == list(front.warnings())
    assert not any("no trade-off on 'a'" in text for text in front.warnings())
    assert front.losses[:, 1].tolist() == [1.0] * 3
    assert np.isfinite([x for x in front.score() if isinstance(x, float)]).all()


class Place(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))


def two_bowls() -> pm.Problem:
    """1 + (x - 1)² and 1 + (x + 1)²: the front ends at (1, 5) and (5, 1), so that steeper rays miss it."""
    return pm.Problem(
        objectives=["a", "b"],
        model=Place,
        losses=lambda model, _: {"a": 1 + (model.x - 1).square(), "b": 1 + (model.x + 1).square()},
        ref_point=[6.0, 6.0],
        deterministic=True,
    )


@pytest.mark.fault(26)
def test_a_point_off_its_ray_is_warned_of_with_the_degrees(tmp_path):
    run = partial(pm.explore, two_bowls(), preferences=[[0.02, 0.98], [0.5, 0.5]], steps=300, optimizer=SGD)
    with pytest.warns(UserWarning, match=r"point-001 is \d+\.\d degrees off the ray") as caught:
        front = run(solver=ps.EPO(), out=tmp_path / "front")
    off, on = front.points
    assert off.state == "done"
    assert off.control_error > 5
    assert float(re.search(r"([\d.]+) degrees", off.warnings[0])[1]) == round(off.control_error, 1)
    assert on.warnings == ()
    assert on.control_error < 0.1
    assert "rays start where all losses are 0" in str(caught[0].message)
    assert [str(w.message) for w in caught] == [line["text"] for line in logged(front.folder, "warning")]
    assert run(solver=ps.Linear()).warnings() == ()


def nan_losses(model, batch):
    values = toys.losses(model, batch)
    return values | {"a": values["a"] * float("nan")}


@pytest.mark.fault(4)
@pytest.mark.filterwarnings("ignore:.*of the untrained model:UserWarning", "ignore:a corner failed")
def test_when_all_points_fail_their_records_are_kept(tmp_path):
    with (
        pytest.warns(UserWarning, match="5 of 5 points failed"),
        pytest.raises(pm.EmptyFrontError, match=r"all points failed: nan in 'a' at step 0\. .*front$"),
    ):
        pm.explore(
            toys.two_regressions(losses=nan_losses), ps.Linear(), preferences=3, epochs=1, out=tmp_path / "front"
        )
    front = pm.Front.load(tmp_path / "front")
    assert len(front) == 0
    assert [p.id for p in front.failed] == ["point-001", "point-002", "point-003", "ideal-1", "ideal-2"]
    assert {p.reason for p in front.failed} == {"nan in 'a' at step 0"}
    assert not any((tmp_path / "front" / "weights").iterdir())
    (ended,) = logged(tmp_path / "front", "ended")
    assert (ended["done"], ended["failed"]) == (0, 5)
    assert [line["state"] for line in logged(tmp_path / "front", "point")] == ["failed"] * 5


@pytest.mark.fault(4)
@pytest.mark.filterwarnings("ignore:.*points failed:UserWarning", "ignore:.*of the untrained model:UserWarning")
@pytest.mark.filterwarnings("ignore:a corner failed")
def test_records_that_an_error_points_to_are_there():
    try:
        pm.explore(toys.two_regressions(losses=nan_losses), ps.Linear(), preferences=1, epochs=1)
    except pm.EmptyFrontError as error:
        message = str(error)
    gc.collect()
    place = re.search(r"records are in (\S+)", message)
    assert place is None or Path(place[1], "points").is_dir()


def test_a_front_without_out_lives_as_long_as_it_is_held():
    front = pm.explore(toys.two_regressions(), ps.Linear(), preferences=[[0.5, 0.5]], epochs=1)
    part, folder = front.nondominated(), front.folder
    del front
    gc.collect()
    assert part.load_model(part.points[0], toys.TwoHeads).training is False
    del part
    gc.collect()
    assert not folder.exists()


# --- equal calls, equal bytes ---


@dataclass
class Watch:
    """What losses see in training: weights and batches, by point; a callback knows the point, losses do not."""

    weights: dict[str, list[bytes]] = field(default_factory=dict)
    batches: dict[str, list[bytes]] = field(default_factory=dict)
    threads: set[int] = field(default_factory=set)
    last: tuple[bytes, bytes] = (b"", b"")

    def losses(self, model, batch):
        self.threads.add(torch.get_num_threads())
        if torch.is_grad_enabled():
            self.last = model.trunk.weight.detach().numpy().tobytes(), batch[0].numpy().tobytes()
        return toys.losses(model, batch)

    def callback(self, told: pm.Step) -> None:
        for kept, seen in zip((self.weights, self.batches), self.last, strict=True):
            kept.setdefault(told.point, []).append(seen)


@off_ray_is_fine
def test_all_points_and_methods_start_alike_and_see_the_same_batches():
    watches = [Watch(), Watch()]
    for watch, solver in zip(watches, (ps.Linear(), ps.EPO()), strict=True):
        problem = toys.two_regressions(losses=watch.losses)
        pm.explore(problem, solver, preferences=3, epochs=3, optimizer=SGD, callbacks=[watch.callback])
    assert len({weights[0] for watch in watches for weights in watch.weights.values()}) == 1
    orders = [tuple(order) for watch in watches for order in watch.batches.values()]
    assert len(orders) == 2 * (3 + 2)
    assert len(set(orders)) == 1
    assert len({orders[0][4 * epoch : 4 * epoch + 4] for epoch in range(3)}) == 3
    last = [weights[-1] for weights in watches[0].weights.values()]
    assert len(set(last)) == len(last)


def noise() -> list:
    return [(torch.randn(16, 4), torch.randn(16, 2))]


@pytest.mark.parametrize("changes", [{}, {"model": toys.Dropping}, {"train": noise, "validate": noise}])
def test_equal_runs_are_equal_bytes_whatever_the_generators_held(tmp_path, changes):
    adam = partial(torch.optim.Adam, lr=0.1)  # in units of a range that is mere noise, SGD diverges
    run = partial(pm.explore, toys.two_regressions(**changes), ps.Linear(), preferences=3, epochs=2, optimizer=adam)
    for i, name in enumerate(("one", "other")):
        torch.manual_seed(i)
        np.random.seed(i)  # noqa: NPY002 - the global generator is what is tested
        random.seed(i)
        run(out=tmp_path / name)
    one, other = files(tmp_path / "one"), files(tmp_path / "other")
    assert one == other
    assert len(one) == 3 + 5 + 5  # study.json, front.json, points.csv; records; weights
    run(out=tmp_path / "seed", seed=1)
    assert set(files(tmp_path / "seed")) & set(one) == {name for name in one if not name.startswith("weights")}


def test_a_point_does_not_depend_on_those_before_it():
    run = partial(pm.explore, toys.two_regressions(model=toys.Dropping), ps.Linear(), epochs=2, optimizer=SGD)
    assert run(preferences=THREE).points[1].weights == run(preferences=THREE[1:2]).points[0].weights


def fail(told: pm.Step) -> None:
    raise RuntimeError("enough")


def interrupt(told: pm.Step) -> None:
    raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore:.*points failed:UserWarning")
@pytest.mark.parametrize(
    ("callbacks", "error"), [([], None), ([fail], pm.EmptyFrontError), ([interrupt], KeyboardInterrupt)]
)
def test_generators_and_threads_are_left_as_they_were(unchecked, callbacks, error):
    def state():
        numpy = np.random.get_state()  # noqa: NPY002
        return random.getstate(), numpy[1].tolist(), numpy[2], torch.get_rng_state().tolist(), torch.get_num_threads()

    watch, threads = Watch(), torch.get_num_threads()
    problem = toys.two_regressions(losses=watch.losses)
    run = partial(pm.explore, problem, ps.Linear(), preferences=THREE, epochs=1, callbacks=callbacks)
    torch.set_num_threads(2)
    try:
        before = state()
        if error is None:
            run()
        else:
            with pytest.raises(error):
                run()
        assert state() == before
    finally:
        torch.set_num_threads(threads)
    assert watch.threads == {1}


# --- the progress line, imports ---


def test_progress_is_quiet_away_from_a_terminal(capfd):
    pm.explore(toys.two_regressions(), ps.Linear(), preferences=2, epochs=1)
    assert capfd.readouterr() == ("", "")


def in_a_process(code: str, **streams) -> str:
    """What it prints."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "solvers")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, **streams)
    assert done.returncode == 0
    return done.stdout


def test_progress_on_a_terminal_is_one_line():
    code = """
import warnings
import paretomtl as pm, paretomtl_solvers as ps
from tests import toys
warnings.simplefilter("ignore")  # after one epoch points dominate others
print(f"{pm.explore(toys.two_regressions(), ps.Linear(), preferences=3, epochs=1).hypervolume():.4f}")
"""
    controller, terminal = pty.openpty()
    try:
        volume = in_a_process(code, stderr=terminal).strip()
        os.close(terminal)
        shown = os.read(controller, 100_000).decode()
    finally:
        os.close(controller)
    assert shown.count("\n") == 1
    assert shown.endswith("\n")
    states = [state for state in shown.rstrip().split("\r") if state.strip()]
    assert all(len(state) <= 80 for state in states)
    assert "0 of 5 points" in states[0]
    assert "5 of 5 points" in states[-1]
    assert f"hypervolume {volume}" in states[-1]
    assert all("left" in state for state in states)


def test_importing_is_light():
    heavy = ["ray", "cvxpy", "pymoo", "matplotlib", "pandas", "scipy.optimize"]
    code = f"import sys, paretomtl, paretomtl_solvers; print([m for m in {heavy} if m in sys.modules])"
    assert in_a_process(code).strip() == "[]"


def test_three_files_know_autograd():
    package = ROOT / "paretomtl"
    knows = {str(p.relative_to(package)) for p in package.rglob("*.py") if autograd_in(ast.parse(p.read_text()))}
    assert knows == {f"autograd/{name}.py" for name in ("gradients", "jacobian", "representation")}


def autograd_in(code: ast.Module) -> bool:
    """Whether it uses torch.autograd, or calls backward; docstrings may speak of it."""
    names = {node.attr for node in ast.walk(code) if isinstance(node, ast.Attribute)}
    names |= {alias.name for node in ast.walk(code) if isinstance(node, ast.ImportFrom) for alias in node.names}
    return bool(names & {"autograd", "backward", "jacrev", "vjp"})


@pytest.mark.fault(122)
def test_a_folder_with_files_of_others_is_a_warning_before_anything_is_written(tmp_path):
    out = tmp_path / "thesis"
    out.mkdir()
    for name in ("a.tex", "b\n.tex", "c.tex", "d.tex", ".hidden"):
        (out / name).touch()
    explored = partial(pm.explore, toys.two_regressions(), ps.Linear(), preferences=2, epochs=1, out=out)
    with pytest.warns(UserWarning, match="thesis' holds no front, but other files") as caught:
        explored()
    (text,) = [str(w.message) for w in caught if "holds no front" in str(w.message)]
    assert r"('a.tex', 'b\n.tex', 'c.tex' …); the front is written among them: give a new folder" in text
    assert [w.filename for w in caught if "holds no front" in str(w.message)] == [__file__]
    with warnings.catch_warnings(record=True) as caught:  # from now on it is a front's folder
        warnings.simplefilter("always")
        explored()
    assert not [w for w in caught if "holds no front" in str(w.message)]
    out = tmp_path / "later"
    (out / "points").mkdir(parents=True)  # as a kill before the study leaves it
    (out / ".git").mkdir()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        explored(out=out)
    assert not [w for w in caught if "holds no front" in str(w.message)]


@pytest.mark.fault(122)
def test_with_such_warnings_as_errors_nothing_is_written(tmp_path):
    (tmp_path / "mine.txt").touch()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*holds no front")
        with pytest.raises(UserWarning, match="holds no front"):
            pm.explore(toys.two_regressions(), ps.Linear(), preferences=2, epochs=1, out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.fault(123)
def test_a_model_in_place_of_the_problem_is_an_error_with_the_remedy(unchecked):
    with pytest.raises(TypeError, match=r"problem= is a TwoHeads; give a pm\.Problem"):
        pm.explore(toys.TwoHeads(), ps.Linear(), preferences=3, epochs=1)
