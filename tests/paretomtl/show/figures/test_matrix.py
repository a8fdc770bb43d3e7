import numpy as np
import pytest

from paretomtl.show.figures import matrix
from paretomtl.show.figures.facts import collect_front
from paretomtl.show.figures.ink import BLUE, GREY, ORANGE
from tests.fronts import front_of
from tests.paretomtl.show.figures.legible import LONG, SCALES, assert_legible

LOSSES = {"p1": (0.1, 0.2, 0.9), "p2": (0.2, 0.3, 0.1), "p3": (0.3, 0.4, 0.2), "p4": (0.6, 0.1, 0.5)}


def panels(figure):
    """The panels by their labels, abscissa first; those within the triangle have the labels of the edges."""
    m = round((1 + (1 + 8 * len(figure.axes)) ** 0.5) / 2)
    places = [(j, i) for i in range(1, m) for j in range(i)]
    return dict(zip(places, figure.axes, strict=True))


def drawn(axes, color, face=None):
    """The points of this colour, in order."""
    lines = [line for line in axes.lines if line.get_marker() == "o" and line.get_color() == color]
    return [tuple(row) for line in lines for row in line.get_xydata().tolist()]


def test_a_panel_a_pair_each_objective_labelled_once():
    figure = matrix.draw(collect_front(front_of(LOSSES, names="abc")))
    labels = {place: (axes.get_xlabel(), axes.get_ylabel()) for place, axes in panels(figure).items()}
    assert labels == {
        (0, 1): ("", "b loss [nats]"),
        (0, 2): ("a loss [nats]", "c loss [nats]"),
        (1, 2): ("b loss [nats]", ""),
    }


def test_every_panel_has_all_points_and_tells_the_dominated_ones_apart_alike():
    front = front_of(LOSSES, names="abc", ideals=(0.05, 0.06, 0.07))
    for (j, i), axes in panels(matrix.draw(collect_front(front, front.points[3]))).items():
        pairs = [(row[j], row[i]) for row in LOSSES.values()]
        # p2 and p3 are worse than p1 in a and b; only p3 is worse than another, p2, in all
        assert drawn(axes, BLUE)[:3] == [pairs[0], pairs[1], pairs[3]]
        assert drawn(axes, GREY) == [pairs[2]]
        assert [tuple(line.get_xydata()[0]) for line in axes.lines if line.get_markeredgecolor() == ORANGE] == [
            pairs[3]
        ]
        dashed = [line.get_xydata() for line in axes.lines if line.is_dashed()]
        assert dashed[0][:, 0].tolist() == [front.ideals[j]] * 2
        assert dashed[1][:, 1].tolist() == [front.ideals[i]] * 2


def test_no_ring_and_no_ideals_where_there_are_none():
    for axes in matrix.draw(collect_front(front_of(LOSSES, names="abc", ideals=()))).axes:
        assert not [line for line in axes.lines if line.is_dashed() or line.get_markeredgecolor() == ORANGE]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize(
    ("reference", "seen", "said"),
    [
        ((1.0, 0.6, 1.5), [True, True, True], "reference\nhypervolume "),
        ((1.0, 9.0, 1.5), [False, True, False], "reference, beyond some axes\nhypervolume "),
        ((9.0, 9.0, 9.0), [False, False, False], "reference, beyond the axes\nhypervolume "),
        ((0.01, 0.01, 0.01), [True, True, True], "reference"),
    ],
)
def test_the_reference_is_in_view_unless_it_is_far(reference, seen, said):
    front = front_of(LOSSES, names="abc", ideals=(), ref_point=reference)
    figure = matrix.draw(collect_front(front))
    for ((j, i), axes), there in zip(panels(figure).items(), seen, strict=True):
        (cross,) = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == "x"]
        assert cross.tolist() == [reference[j], reference[i]]
        left, right, low, high = *axes.get_xlim(), *axes.get_ylim()
        assert (left < cross[0] < right and low < cross[1] < high) == there
        for x, y in front.losses[:, [j, i]]:
            assert left < x < right
            assert low < y < high
    volume = "" if front.hypervolume() is None else f"{front.hypervolume():.4g}"
    assert legend(figure) == ["dominated", "front", said + volume]


@pytest.mark.fault(35)
def test_an_approximate_hypervolume_is_drawn_with_its_error():
    rows = np.random.default_rng(0).dirichlet(np.ones(12), size=20)
    front = front_of({f"p{k}": tuple(row) for k, row in enumerate(rows.tolist())}, names="abcdefghijkl", ideals=())
    figures = front.score()
    said = f"hypervolume {figures.hypervolume:.4g} ± {figures.hypervolume_error:.2g}"
    assert said in legend(matrix.draw(collect_front(front)))[-1]


@pytest.mark.fault(15)
@pytest.mark.fault(30)
@pytest.mark.parametrize("reference", [(1.0, 1.0, 1.0), (9.0, 1e-3, 1.0)])
def test_points_in_one_place_have_axes_around_them(reference):
    rows = dict.fromkeys(["p1", "p2"], (0.5, 0.0, -3.0))
    front = front_of(rows, names="abc", ideals=(), ref_point=reference)
    for axes in matrix.draw(collect_front(front)).axes:
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        assert min(right - left, high - low) > 1e-5
    same = front_of({"p1": (0.5, 0.0, -3.0)}, names="abc", ideals=(), ref_point=(0.5, 0.0, -3.0))
    for axes in matrix.draw(collect_front(same)).axes:
        assert np.ptp(axes.get_xlim()) > 1e-3


@pytest.mark.parametrize("m", [2, 3, 5, 10])
def test_texts_are_in_the_figure_and_apart(m):
    rows = SCALES[:m] * np.random.default_rng(m).dirichlet(np.ones(m), size=25)
    losses = {f"point-{k:03d}": tuple(row) for k, row in enumerate(rows.tolist())}
    front = front_of(losses, names=LONG[:m], ideals=(rows.min(axis=0)).tolist(), ref_point=SCALES[:m])
    assert_legible(matrix.draw, collect_front(front, front.points[0]))
