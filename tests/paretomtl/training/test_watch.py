"""What the loop keeps an eye on: exploding gradients, a method's fallbacks, means, a stall."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.solver import solved_status
from paretomtl.training.watch import EXPLODED, LONG_ENOUGH, STALL, Means, Norms, Stall, upgrade_means
from tests import toys
from tests.one_point import SGD, same, train

JUMP = 12


@dataclass
class Exploding:
    """The toy's losses; at one step of the training the gradient of "b" on the trunk is too long, its value as ever."""

    times: float = 1e5
    step: int = JUMP
    seen: int = -1
    breaks: bool = False

    def losses(self, model, batch):
        values, due = toys.losses(model, batch), model.training and self.seen == self.step - 1
        b, weight = values["b"], model.trunk.weight
        if due:
            b = b + self.times * (weight - weight.detach()).sum()
        if self.breaks and model.training and self.seen == self.step:
            b = b * float("nan")
        return values | {"b": b}

    def callback(self, told: pm.Step) -> None:
        self.seen = told.step


def exploded(solver=None, times: float = 1e5, breaks: bool = False, **asked):
    fault = Exploding(times, breaks=breaks)
    problem = toys.two_regressions(losses=fault.losses)
    return train(problem, solver or ps.MGDA("l2"), epochs=5, callbacks=(fault.callback,), **asked)


@pytest.mark.fault(18)
@pytest.mark.parametrize("solver", [ps.MGDA(), ps.EPO(), toys.Turned()], ids=repr)
def test_a_gradient_that_explodes_in_one_loss_is_told_with_its_factor_and_step(solver):
    point = exploded(solver).point
    (told,) = [warning for warning in point.warnings if "jumped" in warning]
    assert "the gradient of 'b' jumped to" in told
    assert f"times its mean at step {JUMP}; clip= bounds the gradient of each loss" in told
    factor = float(told.split("jumped to ")[1].split(" times")[0])
    assert 1e4 < factor < 1e6


@pytest.mark.fault(18)
@pytest.mark.parametrize("solver", [ps.MGDA(), ps.EPO(), toys.Turned()], ids=repr)
@pytest.mark.parametrize("times", [0.0, 20.0])
def test_a_gradient_that_does_not_explode_is_not_spoken_of(times, solver):
    assert not any("jumped" in warning for warning in exploded(solver, times).point.warnings)


@pytest.mark.fault(18)
def test_a_clip_holds_a_gradient_that_explodes():
    """Beside the same training without the fault: with the clip that step is as long as others; the jump is told."""
    losses = {
        (times, clip): exploded(toys.Turned(), times, clip=clip).point.losses.get("validate", (torch.inf,) * 2)
        for times in (0.0, 1e5)
        for clip in (None, 0.5)
    }
    assert max(losses[1e5, None]) > 1e3
    assert losses[1e5, 0.5] == pytest.approx(losses[0.0, 0.5], rel=0.2)
    assert any("jumped" in warning for warning in exploded(toys.Turned(), clip=0.5).point.warnings)


@pytest.mark.fault(18)
def test_a_point_that_fails_tells_what_led_there():
    point = exploded(breaks=True).point
    assert (point.state, point.reason) == ("failed", f"nan in 'b' at step {JUMP + 1}")
    assert any(f"at step {JUMP}" in warning for warning in point.warnings)


@pytest.mark.fault(18)
def test_a_front_tells_and_keeps_its_clip(tmp_path):
    fault = Exploding()
    run = partial(pm.explore, preferences=[[0.5, 0.5]], epochs=5, optimizer=SGD, clip=0.5)
    with pytest.warns(UserWarning, match=r"point-001: the gradient of 'b' jumped to .* at step 12"):
        run(
            toys.two_regressions(losses=fault.losses), toys.Turned(), callbacks=[fault.callback], out=tmp_path / "front"
        )
    assert pm.Front.load(tmp_path / "front").study["clip"] == 0.5
    assert run(toys.two_regressions(), toys.Turned()).warnings() == ()


def test_corners_are_not_clipped():
    """They are trained by one loss alone, in which the method has no say."""
    corners = [train(toys.two_regressions(), ps.EPO(), job=1, clip=clip).weights for clip in (None, 1e-3)]
    assert same(*corners)


@dataclass(frozen=True)
class Now(pm.Weighting):
    """Says a code at every so-manieth step."""

    code: pm.Code
    every: int

    def init(self, sweep):
        return 0

    def update(self, state, losses, gramian, preference):
        code = self.code if state % self.every == 0 else pm.Code.SOLVED
        return preference, state + 1, solved_status(losses)._replace(code=torch.tensor(int(code)))


@pytest.mark.fault(42)
@pytest.mark.parametrize(
    ("code", "key", "text"),
    [
        (pm.Code.RELAXED, "relaxed", "Now relaxed the program of"),
        (pm.Code.FELL_BACK, "fell_back", "Now fell back on stand-in weights on"),
    ],
)
@pytest.mark.parametrize(("every", "count", "share"), [(1, 40, "100%"), (10, 4, "10%"), (20, 2, None), (40, 1, None)])
def test_more_than_a_few_relaxed_steps_are_warned_of(code, key, text, every, count, share):
    point = train(toys.two_regressions(), Now(code, every), steps=40).point
    assert point.counts[key] == count
    expected = () if share is None else (f"{text} {share} of the steps",)
    assert point.warnings == expected


@pytest.mark.fault(42)
def test_a_front_warns_of_relaxed_steps(tmp_path):
    run = partial(pm.explore, toys.two_regressions(), preferences=[[0.4, 0.6], [0.6, 0.4]], epochs=5)
    with pytest.warns(UserWarning, match=r"point-001, point-002: Now relaxed the program of 20% of the steps"):
        run(Now(pm.Code.RELAXED, 5))
    assert [p.warnings for p in run(Now(pm.Code.RELAXED, 20)).points] == [(), ()]


# --- the parts ---


def norms(*rows: float, names=("a", "b")) -> list[str]:
    """What is told of these norms of "b", those of "a" being 1."""
    watch = Norms(2)
    for step, norm in enumerate(rows):
        watch.add(step, [0, 1], np.array([1.0, norm]))
    return watch.warnings_of(names)


def test_a_jump_is_told_against_the_mean_so_far_once_there_is_one():
    usual = [2.0] * LONG_ENOUGH
    assert norms(*usual, 2 * EXPLODED * 1.5)[0].startswith("the gradient of 'b' jumped to 1.5e+03 times its mean at st")
    assert norms(*usual, 2 * EXPLODED * 0.99) == []
    assert norms(*usual[1:], 2 * EXPLODED * 5) == []  # too early to say
    assert norms(*[0.0] * 20, 1.0) == []  # above nothing, all is infinitely more
    assert norms(*usual, 2e4, 1e30, 1e35) == norms(*usual, 2e4)  # the first; the others may be its consequences


def test_a_loss_without_a_label_has_no_norm_in_the_mean():
    watch = Norms(2)
    for step in range(LONG_ENOUGH + 1):
        there = [0, 1] if step % 2 else [0]
        watch.add(step, there, np.ones(len(there)))
    watch.add(99, [1], np.array([1e9]))
    assert watch.warnings_of(("a", "b")) == []  # five of them are too few
    watch.add(100, [0], np.array([1e9]))
    assert watch.warnings_of(("a", "b"))[0].startswith("the gradient of 'a' jumped to 1e+09 times its mean at step 100")


def test_means_are_over_the_batches_that_have_a_label():
    means = Means(2)
    means.add([0, 1], np.array([1.0, 3.0]), np.array([16.0, 2.0]))
    means.add_weights([0, 1], np.array([0.25, 0.75]))
    means.add([1], np.array([5.0]), np.array([6.0]))
    means.add_weights([1], np.array([1.0]))
    assert means.seen.tolist() == [1, 0.5]  # in labels of the first batch
    losses, weights, errors = means.close()
    assert (losses.tolist(), weights.tolist()) == ([1, 4.5], [0.25, 0.875])
    assert errors.tolist() == pytest.approx([0, (2 * 1.5**2 / 8 + 6 * 0.5**2 / 8) ** 0.5])
    assert means.seen.tolist() == [0, 0]
    means.add([0, 1], np.array([7.0, 8.0]), np.ones(2))
    means = means.close()
    assert (means.losses.tolist(), means.weights.tolist()) == ([7, 8], [0, 0])  # no step has ended


def test_means_that_an_earlier_version_wrote_go_on():
    """It added batches of one length, and noted the weights at each."""
    old = (np.array([4.0, 6.0]), np.array([0.5, 1.5]), np.array([2, 2]))
    means = Means(2)
    means.restore(upgrade_means(old))
    means.add([0, 1], np.array([5.0, 6.0]), np.array([16.0, 16.0]))
    means.add_weights([0, 1], np.array([0.5, 0.5]))
    assert upgrade_means(means.checkpoint()) == means.checkpoint()
    losses, weights, errors = means.close()
    assert (losses.tolist(), weights.tolist()) == ([3, 4], pytest.approx([1 / 3, 2 / 3]))
    assert errors.tolist() == [np.inf, np.inf]  # it kept no squares, so its noise is unknown


def stalls_after(residuals) -> int | None:
    stall = Stall()
    for step, residual in enumerate(residuals):
        if stall(np.array(float(residual))):
            return step
    return None


def test_a_stall_is_a_hundred_steps_without_a_smaller_residual():
    assert stalls_after([1.0] * 300) == STALL
    assert stalls_after([1.0] * 50 + [0.5] + [0.7] * 300) == 50 + STALL
    assert stalls_after([1 / (n + 1) for n in range(300)]) is None
    assert stalls_after([0.0] * 300) is None


def test_points_are_watched_each_apart():
    watch, stall = Norms(2, (2,)), Stall((2,))
    for step in range(LONG_ENOUGH):
        watch.add(step, [0, 1], np.ones((2, 2)))
    watch.add(LONG_ENOUGH, [0, 1], np.array([[1.0, 1.0], [1.0, 1e4]]))
    assert watch.warnings_of(("a", "b"), (0,)) == []
    assert watch.warnings_of(("a", "b"), (1,))[0].startswith("the gradient of 'b' jumped to 1e+04")
    found = [stall(np.array([1.0, 1 / (step + 1)])).tolist() for step in range(STALL + 1)]
    assert found[-2:] == [[False, False], [True, False]]
