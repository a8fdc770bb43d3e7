"""Several fronts in one figure."""

import csv

import numpy as np
import pytest

import paretomtl as pm
from paretomtl.points import score
from paretomtl.show.figures import several
from tests.fronts import failed, front_of, seeded, stored
from tests.paretomtl.show.figures.legible import LONG, SCALES, assert_legible

HERE = {"p1": (0.2, 0.8), "p2": (0.4, 0.4), "p3": (0.5, 0.5), "p4": (0.8, 0.1)}
THERE = {"p1": (0.1, 0.9), "p2": (0.6, 0.3)}
SEEDS = ([(0.2, 0.8), (0.4, 0.4)], [(0.3, 0.7), (0.5, 0.3)], [(0.1, 0.9), (0.6, 0.6)])


def fronts(**changes):
    return {"EPO": front_of(HERE, **changes), "Linear": front_of(THERE, **changes)}


def random_front(m, n, seed, names=None, scales=None):
    rows = (1 if scales is None else scales) * np.random.default_rng(seed).dirichlet(np.ones(m), size=n)
    losses = {f"point-{k:03d}": tuple(row) for k, row in enumerate(rows.tolist())}
    return front_of(losses, names=names or "abcde"[:m], ideals=())


def random_seeds(folder, seed, n=9, s=5):
    r = np.random.default_rng(seed)
    x = np.linspace(0.1, 0.9, n)
    rows = [np.stack([x, 0.09 / x], axis=1) * r.uniform(1, 1.3, (n, 1)) for _ in range(s)]
    return seeded(folder, *[[tuple(row) for row in part.tolist()] for part in rows])


def lines(axes, color):
    """What is drawn in this colour, but for the entry of the legend, as lists of points."""
    return [line.get_xydata().tolist() for line in axes.lines if line.get_color() == color and len(line.get_xydata())]


# --- the facts ---


def test_of_one_seed_the_facts_are_points_and_a_staircase():
    shown = several.collect_fronts(fronts())
    assert [one.name for one in shown.fronts] == ["EPO", "Linear"]
    one, other = shown.fronts
    np.testing.assert_array_equal(one.losses, list(HERE.values()))
    assert one.nondominated.tolist() == [True, True, False, True]
    assert [*one.surfaces] == ["attained"]
    # to the reference, (1, 1), in both, so that the two can be compared by eye
    steps = [[0.2, 1], [0.2, 0.8], [0.4, 0.8], [0.4, 0.4], [0.8, 0.4], [0.8, 0.1], [1, 0.1]]
    np.testing.assert_allclose(one.surfaces["attained"], steps)
    np.testing.assert_allclose(other.surfaces["attained"], [[0.1, 1], [0.1, 0.9], [0.6, 0.9], [0.6, 0.3], [1, 0.3]])
    assert (one.hypervolume, one.half_width, one.n_seeds) == (front_of(HERE).hypervolume(), None, 1)
    np.testing.assert_allclose(shown.ends(), [(0.1, 0.1), (0.8, 0.9)])


def test_of_several_seeds_the_facts_are_median_best_and_worst(tmp_path):
    front = seeded(tmp_path, *SEEDS)
    (one,) = several.collect_fronts({"seeds": front}).fronts
    assert (one.n_seeds, one.seeds) == (3, (0, 0, 1, 1, 2, 2))
    # the best is of any seed, the median of two of three, the worst of all; each goes to the reference, (2, 2)
    inner = {name: steps[1:-1].tolist() for name, steps in one.surfaces.items()}
    assert inner["best"] == [[0.1, 0.9], [0.2, 0.9], [0.2, 0.8], [0.3, 0.8], [0.3, 0.7], [0.4, 0.7], [0.4, 0.4],
                             [0.5, 0.4], [0.5, 0.3]]  # fmt: skip
    assert inner["median"] == [[0.2, 0.9], [0.3, 0.9], [0.3, 0.8], [0.4, 0.8], [0.4, 0.7], [0.5, 0.7], [0.5, 0.4]]
    assert inner["worst"] == [[0.3, 0.9], [0.6, 0.9], [0.6, 0.6]]
    assert all(steps[0, 1] == steps[-1, 0] == 2 for steps in one.surfaces.values())
    assert (one.hypervolume, one.half_width) == (front.hypervolume(), front.score().hypervolume_interval)


def test_a_point_is_dominated_by_points_of_its_own_seed_alone(tmp_path):
    (one,) = several.collect_fronts({"x": seeded(tmp_path, [(0.5, 0.5)], [(0.4, 0.4)])}).fronts
    assert one.nondominated.tolist() == [True, True]


def test_seeds_without_a_point_are_left_out(tmp_path):
    (one,) = several.collect_fronts({"x": seeded(tmp_path, [(0.5, 0.5), (0.4, 0.8)], [None, None])}).fronts
    assert one.n_seeds == 1
    assert [*one.surfaces] == ["attained"]


@pytest.mark.fault(31)
@pytest.mark.fault(30)
@pytest.mark.parametrize("n", [1, 2])
def test_points_in_one_place(n):
    same = front_of(dict.fromkeys(["p1", "p2"][:n], (0.5, 0.5)))
    shown = several.collect_fronts({"same": same})
    assert shown.fronts[0].surfaces["attained"].tolist() == [[0.5, 1], [0.5, 0.5], [1, 0.5]]
    assert_legible(several.draw, shown)


# --- the drawing ---


def test_each_front_has_a_colour_a_marker_and_dashes_of_its_own():
    made = {f"method {k}": random_front(2, 5, k) for k in range(len(several.COLORS))}
    handles = several.draw(several.collect_fronts(made)).legends[0].legend_handles[: len(made)]
    looks = [(h.get_color(), h.get_marker(), h.get_linestyle()) for h in handles]
    assert len({color for color, _, _ in looks}) == len({marker for _, marker, _ in looks}) == len(made)
    greys = {
        (marker, h._dash_pattern[1] and tuple(h._dash_pattern[1]))
        for h, (_, marker, _) in zip(handles, looks, strict=True)
    }
    assert len(greys) == len(made)


def test_the_plane_has_staircases_points_and_the_reference():
    shown = several.collect_fronts(fronts())
    (axes,) = several.draw(shown).axes
    for one, color in zip(shown.fronts, several.COLORS, strict=False):
        drawn = lines(axes, color)
        assert one.surfaces["attained"].tolist() in drawn
        assert one.losses[one.nondominated].tolist() in drawn
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "none" and len(line.get_xydata())]
    assert [line.get_xydata().tolist() for line in hollow] == [[[0.5, 0.5]]]
    assert [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "x"] == [[[1, 1]]]
    assert not axes.patches


def test_a_band_lies_between_best_and_worst(tmp_path):
    shown = several.collect_fronts({"seeds": seeded(tmp_path, *SEEDS)})
    (axes,) = several.draw(shown).axes
    surfaces = shown.fronts[0].surfaces
    band = axes.patches[0].get_path().vertices[:-1].tolist()
    assert band == [*surfaces["best"].tolist(), *surfaces["worst"][::-1].tolist()]
    assert surfaces["median"].tolist() in lines(axes, several.COLORS[0])


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_legend_says_what_there_is(tmp_path):
    assert legend(several.draw(several.collect_fronts(fronts()))) == [
        f"EPO\nhypervolume {front_of(HERE).hypervolume():.4g}",
        f"Linear\nhypervolume {front_of(THERE).hypervolume():.4g}",
        "dominated",
        "reference",
    ]
    front = seeded(tmp_path, *SEEDS)
    figures = front.score()
    assert legend(several.draw(several.collect_fronts({"x": front}))) == [
        f"x\nhypervolume {figures.hypervolume:.4g} ± {figures.hypervolume_interval:.2g}, 3 seeds",
        "line: median of the seeds",
        "band: best to worst seed",
        "reference, beyond the axes",
    ]
    far = several.collect_fronts(fronts(ref_point=(0.01, 0.01)))
    assert legend(several.draw(far))[0] == "EPO\nno hypervolume"


def test_three_objectives_are_points_in_a_panel_a_pair():
    made = {name: random_front(3, 6, k) for k, name in enumerate(["one", "other"])}
    figure = several.draw(several.collect_fronts(made))
    assert len(figure.axes) == 3
    for axes, pair in zip(figure.axes, [[0, 1], [0, 2], [1, 2]], strict=True):
        for front, color in zip(made.values(), several.COLORS, strict=False):
            assert front.losses[:, pair].tolist() in lines(axes, color)


@pytest.mark.parametrize("width", [None, 3.25, 6.75])
def test_texts_are_in_the_figure_and_apart(tmp_path, width):
    for k, m in enumerate((2, 3, 5)):
        made = {name: random_front(m, 12, s, LONG[:m], SCALES[:m]) for s, name in enumerate([LONG[2], LONG[6], "EPO"])}
        assert_legible(several.draw, several.collect_fronts(made), width)
        seeds = {name: random_seeds(tmp_path / f"{k}-{s}", s) for s, name in enumerate(["EPO", "Linear, tuned"])}
    assert_legible(several.draw, several.collect_fronts(seeds), width)


# --- files ---


def test_the_csv_beside_holds_what_is_drawn(tmp_path):
    made = {"one": seeded(tmp_path / "x", *SEEDS), "=other": seeded(tmp_path / "y", [(0.5, 0.5), (0.6, 0.6)])}
    path = pm.plot_fronts(made, tmp_path / "fronts.svg")
    rows = list(csv.reader(path.with_suffix(".csv").read_text().splitlines()))
    assert rows[0] == ["front", "mark", "id", "seed", "a", "b"]
    assert rows[1] == ["one", "front", "p1-seed-1", "0", "0.2", "0.8"]
    assert rows[-1] == ["", "reference", "", "", "2.0", "2.0"]
    assert [(row[0], row[1], row[2]) for row in rows if row[1] == "dominated"] == [
        ("'=other", "dominated", "p2-seed-1")
    ]
    for one in several.collect_fronts(made).fronts:
        name = one.name.replace("=", "'=")
        for level, steps in one.surfaces.items():
            there = [[float(x) for x in row[4:]] for row in rows if row[:2] == [name, level]]
            assert there == steps.tolist()


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_equal_fronts_are_equal_bytes(tmp_path, suffix):
    front = random_seeds(tmp_path / "front", 0)
    paths = [pm.plot_fronts({"x": front}, tmp_path / name / f"fronts.{suffix}", 3.25) for name in "ab"]
    for first, second in (paths, [path.with_suffix(".csv") for path in paths]):
        assert first.read_bytes() == second.read_bytes()


# --- errors ---


@pytest.mark.fault(34)
@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"names": ("a", "c")}, r"fronts 'x' \(here\) and 'z' \(the other\): objectives: .*'b'.*'c'.*must be the same"),
        ({"ref_point": (3.0, 1.0)}, r"fronts 'x' \(here\) and 'z' \(the other\): ref_point: \(1.0, 1.0\) here, \(3.0"),
    ],
)
def test_fronts_of_different_problems_are_refused(tmp_path, other, message):
    made = {"x": front_of(HERE), "y": front_of(THERE), "z": front_of(HERE, **other)}
    with pytest.raises(ValueError, match=message):
        pm.plot_fronts(made, tmp_path / "fronts.svg")
    assert not list(tmp_path.iterdir())


@pytest.mark.fault(34)
def test_every_pair_is_compared(tmp_path):
    # nothing is known of the splits of a front from elsewhere; of the other two they differ
    values = pm.Front.from_values([[0.5, 0.5]], ["a", "b"], [2.0, 2.0])
    made = {"x": values} | {
        s: stored(tmp_path / s, [], splits=["validate", "test"][: k + 1]) for k, s in enumerate("yz")
    }
    with pytest.raises(ValueError, match=r"fronts 'y' \(here\) and 'z' \(the other\): splits"):
        pm.plot_fronts(made, tmp_path / "fronts.svg")


@pytest.mark.fault(29)
def test_a_front_without_points_is_named(tmp_path):
    with pytest.raises(pm.EmptyFrontError, match=r"there is no point in fronts\['none'\]"):
        pm.plot_fronts({"some": front_of(HERE), "none": front_of({})}, tmp_path / "fronts.svg")
    with pytest.raises(pm.EmptyFrontError):
        pm.plot_fronts({"none": stored(tmp_path, [failed("p1")])}, tmp_path / "fronts.svg")


def test_errors_say_what_to_do(unchecked, tmp_path):
    with pytest.raises(ValueError, match="fronts is empty; give at least one"):
        pm.plot_fronts({}, tmp_path / "fronts.svg")
    with pytest.raises(TypeError, match="fronts is a list; give a dict of fronts by name"):
        pm.plot_fronts([front_of(HERE)], tmp_path / "fronts.svg")
    with pytest.raises(ValueError, match=r"'fronts.jpg': a plot is written as .svg, .pdf, .png"):
        pm.plot_fronts(fronts(), tmp_path / "fronts.jpg")


def test_the_attained_area_is_the_hypervolume(tmp_path):
    (one,) = several.collect_fronts({"x": front_of(HERE)}).fronts
    steps = one.surfaces["attained"]
    area = float((np.diff(steps[:, 0]) * (1 - steps[:-1, 1])).sum())
    assert area == pytest.approx(score.hypervolume(front_of(HERE).losses, [1.0, 1.0]))
