"""The map from preferences to losses: its figures on maps that are known, and where there are none."""

import time
from dataclasses import replace

import numpy as np
import pytest

import paretomtl as pm
from paretomtl.errors import EmptyFrontError
from paretomtl.points import preference_map
from paretomtl.preference import even_design
from paretomtl.show import report
from tests.fronts import failed, point, stored
from tests.limits import limit

NAMES = ("a", "b", "c", "d", "e", "f")
NETWORK = "0" * 64


def front_of(tmp_path, preferences, losses, **changes):
    """A front of these losses at these preferences, through its files."""
    points = [
        point(f"p{k + 1:03d}", row, preference=tuple(map(float, r)), **changes)
        for k, (r, row) in enumerate(zip(preferences, losses, strict=True))
    ]
    return stored(tmp_path, points, NAMES[: len(points[0].preference)])


def line(*first):
    """Preferences of two objectives by their first entry."""
    return np.array([[a, 1 - a] for a in first])


def test_a_map_of_straight_pieces_is_exact_but_at_its_bend(tmp_path):
    """The bend, at 0.5, is as far from the straight line between its neighbours as can be told by hand."""
    r = line(0.5, 0.1, 0.3, 0.9, 0.8)  # in no order
    bent = np.maximum(1 - r[:, 0], 2 - 3 * r[:, 0])
    found = front_of(tmp_path, r, np.stack([bent, 4 * r[:, 0]], axis=1)).map()
    share = (0.5 - 0.3) / (0.8 - 0.3)
    np.testing.assert_allclose(found.error, [(1 - share) * 1.1 + share * 0.2 - 0.5, 0], atol=1e-12)
    np.testing.assert_array_equal(found.preferences, r)
    assert found.names == ("a", "b")
    np.testing.assert_allclose(found.losses[:, 0], bent)


def test_of_a_smooth_map_between_points_the_error_is_a_quarter(tmp_path):
    """Of a quadratic map, x^2, left out between neighbours h away it is h^2; halfway between two points, h^2 / 4."""
    h = 0.1
    r = line(*np.arange(1, 10) * h)
    found = front_of(tmp_path, r, np.stack([r[:, 0] ** 2, 3 * r[:, 1] ** 2], axis=1)).map()
    np.testing.assert_allclose(found.error, [h**2, 3 * h**2], rtol=1e-9)
    middle = r[:-1, 0] + h / 2
    between = np.abs(np.interp(middle, r[:, 0], r[:, 0] ** 2) - middle**2)
    np.testing.assert_allclose(4 * between.max(), found.error[0], rtol=1e-9)


def test_points_of_one_preference(tmp_path):
    """Such a front comes of a table only; what is known twice is known from the other one."""
    found = front_of(
        tmp_path, line(0.2, 0.5, 0.5, 0.5, 0.8), np.array([[1.0, 2.0]] * 5) * [[1], [1], [1], [2], [1]]
    ).map()
    np.testing.assert_allclose(found.error, [1, 2])


def test_three_objectives_by_triangles(tmp_path):
    r = even_design(3, 21)
    flat = r @ np.array([[1.0, 2.0, 0.5], [0.0, 1.0, 2.0], [3.0, 0.2, 1.0]])
    np.testing.assert_allclose(front_of(tmp_path / "1", r, flat).map().error, [0, 0, 0], atol=1e-9)
    centre = int(np.argmin(np.abs(r - 1 / 3).sum(axis=1)))
    peak = flat.copy()
    peak[centre, 1] += 0.7
    found = front_of(tmp_path / "2", r, peak).map().error
    np.testing.assert_allclose(found[[0, 2]], [0, 0], atol=1e-9)
    assert found[1] > 0.7 - 1e-9


def test_the_fewest_points_of_three_objectives(tmp_path):
    corners = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [1 / 3] * 3]
    losses = np.array([[1.0, 1, 1], [1, 1, 1], [1, 1, 1], [0.5, 1, 2]])
    np.testing.assert_allclose(front_of(tmp_path, corners, losses).map().error, [0.5, 0, 1])


ON_A_LINE = np.array([[a, (1 - a) / 2, (1 - a) / 2] for a in np.linspace(0.1, 0.9, 6)])


@pytest.mark.parametrize(
    "r", [line(0.5), line(0.2, 0.8), np.eye(3), np.array([[0.2, 0.3, 0.5]]), ON_A_LINE, even_design(6, 8)], ids=len
)
def test_too_few_points_to_say(tmp_path, r):
    """Or none with others around it; or more objectives than can be looked at."""
    found = front_of(tmp_path, r, 1.5 - r)
    assert found.map().error is None
    assert "interpolation error, each point left out: not available" in str(found.map())


@pytest.mark.fault(88)
def test_many_points_take_seconds(tmp_path):
    dice = np.random.default_rng(0)
    for n, known in ((preference_map.MOST_MAPPED, True), (preference_map.MOST_MAPPED + 1, False)):
        r = dice.dirichlet(np.ones(3), n)
        start = time.process_time()
        assert (preference_map.leave_one_out_error(r, r) is not None) == known
        assert time.process_time() - start < limit(10)


def test_spearman(tmp_path):
    r = line(0.1, 0.2, 0.3, 0.4)
    losses = np.array([[4.0, 1], [3, 1], [1, 1], [2, 1]])
    found = front_of(tmp_path, r, losses)
    assert found.map().monotone == (pytest.approx(-0.8), None)  # 1 - 6 d^2 / (n (n^2 - 1)), turned
    assert "Spearman of preference and loss: a -0.800, b undefined" in str(found.map())
    assert front_of(tmp_path / "one", r[:1], losses[:1]).map().monotone == (None, None)


def test_the_table(tmp_path):
    r = line(0.25, 0.5, 0.75)
    text = str(front_of(tmp_path, r, np.array([[1.0, 0.5], [0.5, 0.75], [0.25, 12]])).map())
    assert text.splitlines() == [
        "  r a    r b       a        b",
        "0.250  0.750  1.0000   0.5000",
        "0.500  0.500  0.5000   0.7500",
        "0.750  0.250  0.2500  12.0000",
        "interpolation error, each point left out: a 0.12, b 5.5",
        "Spearman of preference and loss: a -1.000, b -1.000",
    ]


def test_fronts_without_preferences_or_points(tmp_path):
    with pytest.raises(ValueError, match="this front has no preferences"):
        pm.Front.from_values([[1.0, 2.0], [2.0, 1.0]], ["a", "b"], [3.0, 3.0]).map()
    with pytest.raises(EmptyFrontError, match="there is no point"):
        stored(tmp_path, [failed("p1")]).map()


# --- in reports ---


def seeds_of(tmp_path, network):
    """Two seeds; their means are on a straight line, they are not."""
    r = line(0.25, 0.5, 0.75)
    points = [
        point(f"p{k}-seed-{s + 1}", (1.0 - a + way * (k == 1), a), preference=(a, b), seed=s, network=network)
        for s, way in enumerate((0.25, -0.25))
        for k, (a, b) in enumerate(r.tolist())
    ]
    return stored(tmp_path, points)


def test_reports_say_it_of_points_of_one_network(tmp_path):
    front = seeds_of(tmp_path, NETWORK)
    np.testing.assert_allclose(front.map().error, [0, 0], atol=1e-12)
    np.testing.assert_allclose(front.by_seed()[0].map().error, [0.25, 0], atol=1e-12)
    assert report.format_report(front).splitlines()[-2:] == [
        "interpolation error, each point left out: a 0, b 0",
        "Spearman of preference and loss: a -1.000, b -1.000",
    ]
    found = report.report_as_json(front)
    assert found["map"] == {"interpolation_error": [0.0, 0.0], "monotone": [pytest.approx(-1), pytest.approx(-1)]}
    assert {p["network"] for p in found["points"]} == {NETWORK}


def test_reports_do_not_say_it_of_other_points(tmp_path):
    apart = seeds_of(tmp_path / "apart", None)
    some = [replace(p, network=NETWORK if k else None) for k, p in enumerate(apart.by_seed()[0].points)]
    for front in (apart, stored(tmp_path / "some", some), stored(tmp_path / "none", [failed("p1")])):
        assert "Spearman" not in report.format_report(front)
        assert report.report_as_json(front)["map"] is None
