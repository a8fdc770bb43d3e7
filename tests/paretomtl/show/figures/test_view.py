"""Figures for a paper's column, and the files that journals take."""

import re

import numpy as np
import pytest

from paretomtl.show.figures import matrix, pair, parallel
from paretomtl.show.figures.facts import collect_front
from tests.fronts import front_of
from tests.paretomtl.show.figures.legible import LONG, SCALES, assert_legible


def made(m, names=LONG, scales=SCALES):
    rows = scales[:m] * np.random.default_rng(m).dirichlet(np.ones(m), size=25)
    losses = {f"point-{k:03d}": tuple(row) for k, row in enumerate(rows.tolist())}
    return front_of(losses, names=names[:m], ideals=rows.min(axis=0).tolist(), ref_point=scales[:m])


@pytest.mark.parametrize("width", [3.25, 6.75])
@pytest.mark.parametrize(
    ("draw", "m"),
    [(pair.draw, 2), *[(matrix.draw, m) for m in (2, 3, 5)], *[(parallel.draw, m) for m in (2, 3, 5)]],
)
def test_texts_are_in_the_figure_and_apart(draw, m, width):
    names = ["left", "depth", "normals", "edges", "speed"]
    even = {f"point-00{k}": (k / 10, 1 - k / 10) for k in range(1, 10)}  # whose numbers do not meet
    front = front_of(even, names[:2]) if draw is pair.draw else made(m, names, np.ones(5))
    assert_legible(draw, collect_front(front, front.points[0]), width)


@pytest.mark.parametrize(
    ("draw", "m"), [(matrix.draw, 2), (matrix.draw, 3), (matrix.draw, 5), (parallel.draw, 3), (parallel.draw, 5)]
)
def test_long_names_and_numbers_fit_two_columns(draw, m):
    front = made(m)
    assert_legible(draw, collect_front(front, front.points[0]), 6.75)


def test_a_width_is_the_width_of_the_file(tmp_path):
    front = made(3)
    for width in (3.25, 6.75):
        svg = front.plot(tmp_path / "front.svg", width=width).read_text()
        assert f'width="{72 * width:g}pt"' in svg


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("matrix", r"width=3.25 leaves 0.27 inches to each panel of 10 objectives, which needs 0.55; give more"),
        ("parallel", r"width=3.25 leaves 0.27 inches to each of 10 axes, which needs 0.5; give more"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, kind, message):
    with pytest.raises(ValueError, match=message):
        made(10).plot(tmp_path / "front.svg", kind=kind, width=3.25)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("width", [0, -1.0, float("nan"), float("inf"), True, "3.25"])
def test_what_is_no_width_is_refused(unchecked, tmp_path, width):
    with pytest.raises(ValueError, match=r"width=.*: give inches, such as 3.25"):
        made(2).plot(tmp_path / "front.svg", width=width)


def test_text_stays_text(tmp_path):
    front = made(2, ["left <&> $x$", "right"], np.ones(2))
    svg = front.plot(tmp_path / "front.svg").read_text()
    assert "left &lt;&amp;&gt; $x$ loss" in svg
    pdf = front.plot(tmp_path / "front.pdf").read_bytes()
    assert re.search(rb"/Subtype /CIDFontType2|/Subtype /TrueType|/FontFile2", pdf)
    assert b"/Subtype /Type3" not in pdf


def test_the_points_of_one_of_several_seeds_have_their_numbers():
    front = front_of({f"point-00{k}-seed-2": (0.1 * k, 1 / k) for k in (1, 2)})
    assert [text.get_text() for text in pair.draw(collect_front(front)).axes[0].texts] == ["1", "2"]
