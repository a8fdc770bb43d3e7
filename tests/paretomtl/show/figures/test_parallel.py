import numpy as np
import pytest

from paretomtl.show.figures import parallel
from paretomtl.show.figures.facts import collect_front
from paretomtl.show.figures.ink import DARK, ORANGE, PALE, format_tick
from tests.fronts import front_of
from tests.paretomtl.show.figures.legible import LONG, SCALES, assert_legible

LOSSES = {"p1": (0.1, 30.0, 0.9), "p2": (0.5, 20.0, 0.1), "p3": (0.6, 40.0, 0.5), "p4": (0.9, 10.0, 0.4)}


def figure_of(losses=LOSSES, chosen=None, names="abc", **changes):
    front = front_of(losses, names=names, **({"ideals": ()} | changes))
    return parallel.draw(collect_front(front, None if chosen is None else front.points[chosen]))


def lines(figure):
    """The lines of points as (heights, line), in the order drawn."""
    axes = figure.axes[0]
    found = [
        line for line in axes.lines if len(line.get_xdata()) == len(axes.get_xticks()) and line.get_color() != DARK
    ]
    return [(line.get_ydata().tolist(), line) for line in found]


def test_a_smaller_loss_is_higher_and_every_axis_is_filled():
    heights = [line[0] for line in lines(figure_of())]
    # the dominated p3 first, behind the others
    np.testing.assert_allclose(heights, [(3 / 8, 0, 1 / 2), (1, 1 / 3, 0), (1 / 2, 2 / 3, 1), (0, 1, 5 / 8)])
    axes = figure_of().axes[0]
    assert axes.get_ylim()[0] < axes.get_ylim()[1]
    assert axes.get_ylabel() == "better →"
    assert axes.yaxis.label.get_rotation() == 90


def test_the_numbers_of_an_axis_are_at_its_ends_the_smallest_loss_on_top():
    texts = {text.xy: text.get_text() for text in figure_of().axes[0].texts}
    assert texts == {(0, 1): "0.1", (0, 0): "0.9", (1, 1): "10", (1, 0): "40", (2, 1): "0.1", (2, 0): "0.9"}


def test_ideals_are_ticks_and_lengthen_the_axes():
    figure = figure_of(ideals=(0.0, 5.0, 0.2))
    (ticks,) = [line for line in figure.axes[0].lines if line.get_marker() == "_"]
    np.testing.assert_allclose(ticks.get_ydata(), [1, 1, 1 - 1 / 8])
    texts = {text.xy: text.get_text() for text in figure.axes[0].texts}
    assert [texts[k, 1] for k in range(3)] == ["0", "5", "0.1"]
    assert not [line for line in figure_of().axes[0].lines if line.get_marker() == "_"]


def test_colours_tell_dominated_chosen_and_the_first_objective():
    dominated, *front, chosen = (line for _, line in lines(figure_of(chosen=1)))
    assert dominated.get_color() == PALE
    assert (chosen.get_color(), chosen.get_label()) == (ORANGE, "chosen: p2")
    assert chosen.get_linewidth() > 2 * front[0].get_linewidth()
    assert dominated.get_zorder() < front[0].get_zorder() < chosen.get_zorder()
    assert front[0].get_label() == "front, coloured by a"
    # viridis: dark for a small loss, light for a large one, so that it reads without colours too
    best, worst = (np.dot(line.get_color()[:3], [0.3, 0.6, 0.1]) for line in front)
    assert best < 0.2 < 0.6 < worst
    (scale,) = figure_of().axes[0].collections
    np.testing.assert_allclose(scale.get_colors()[-1], front[0].get_color(), atol=0.05)
    np.testing.assert_allclose(scale.get_colors()[0], front[1].get_color(), atol=0.05)


@pytest.mark.fault(15)
def test_an_objective_that_does_not_vary_is_flat_and_does_not_colour():
    losses = {"p1": (7.0, 1.0, 2.0), "p2": (7.0 * (1 + 1e-15), 2.0, 1.0)}
    figure = figure_of(losses)
    assert [line[0] for line in lines(figure)] == [[0.5, 1, 0], [0.5, 0, 1]]
    assert {text.xy: text.get_text() for text in figure.axes[0].texts}[0, 0.5] == "7"
    assert lines(figure)[0][1].get_label() == "front, coloured by b"
    assert figure.axes[0].collections[0].get_segments()[0][:, 0].tolist() == [1, 1]


@pytest.mark.fault(30)
@pytest.mark.fault(31)
@pytest.mark.parametrize("n", [1, 2])
def test_points_in_one_place(n):
    figure = figure_of(dict.fromkeys(["p1", "p2"][:n], (0.5, 0.0, -3.0)))
    assert [line[0] for line in lines(figure)] == [[0.5] * 3] * n
    assert lines(figure)[0][1].get_label() == "front"
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.5", "0", "-3"]


def test_two_objectives():
    losses = {"p1": (0.1, 3.0), "p2": (0.5, 1.0)}
    assert [line[0] for line in lines(figure_of(losses, names="ab"))] == [[1, 0], [0, 1]]


@pytest.mark.parametrize("m", [2, 3, 5, 10])
def test_texts_are_in_the_figure_and_apart(m):
    rows = SCALES[:m] * np.random.default_rng(m).dirichlet(np.ones(m), size=25) + [0, 1000, *[0] * 8][:m]
    losses = {f"point-{k:03d}": tuple(row) for k, row in enumerate(rows.tolist())}
    front = front_of(losses, names=LONG[:m], ideals=rows.min(axis=0).tolist())
    assert_legible(parallel.draw, collect_front(front, front.points[0]))


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (0.12345, 0.0, 1.0, "0.123"),
        (1000.31, 1000.0, 1001.0, "1000.31"),
        (1e-17, -1.0, 1.0, "0"),
        (2e6, 0.0, 3e6, "2e+06"),
        (4877.3, 61.9, 4877.3, "4877"),
        (5.0, 5.0, 5.0, "5"),
        (0.0, 0.0, 0.0, "0"),
    ],
)
def test_numbers_have_the_digits_that_their_axis_needs(value, low, high, expected):
    assert format_tick(value, low, high) == expected
