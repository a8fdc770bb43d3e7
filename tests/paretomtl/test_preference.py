import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretomtl.preference import FLOOR, build_design, control_error, even_design, normalise, raise_to_floor, ray

NAMES = ["a", "b"]


def simplex(m):
    entries = st.lists(st.floats(0, 1, allow_subnormal=False), min_size=m, max_size=m).filter(lambda r: sum(r) > 1e-3)
    return entries.map(lambda r: np.array(r) / np.sum(r))


def turned(r, degrees):
    """A loss vector at that angle from the ray of r, towards an arbitrary side."""
    along = ray(r) / np.linalg.norm(ray(r))
    side = np.zeros(len(r))
    side[:2] = -along[1], along[0]
    side /= np.linalg.norm(side)
    return 3 * (np.cos(np.radians(degrees)) * along + np.sin(np.radians(degrees)) * side)


@pytest.mark.parametrize(("K", "a"), [(1, [1 / 2]), (3, [1 / 4, 1 / 2, 3 / 4]), (24, [k / 25 for k in range(1, 25)])])
def test_even_design_of_two_is_k_over_K_plus_1(K, a):
    np.testing.assert_allclose(even_design(2, K), np.stack([a, 1 - np.array(a)], axis=1), atol=1e-15)


@pytest.mark.parametrize(("m", "K"), [(3, 1), (3, 2), (3, 3), (3, 4), (3, 12), (4, 10), (5, 3), (5, 15)])
def test_even_design_is_interior_distinct_and_on_the_simplex(m, K):
    points = even_design(m, K)
    assert points.shape == (K, m)
    assert points.min() > 0.1
    np.testing.assert_allclose(points.sum(axis=1), 1, atol=1e-14)
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)[~np.eye(K, dtype=bool)]
    assert K == 1 or apart.min() > 0.1


@pytest.mark.parametrize(("m", "K", "p"), [(3, 3, 1), (3, 10, 3), (4, 10, 2)])
def test_even_design_keeps_a_lattice_step_from_the_boundary(m, K, p):
    # a lattice of p divisions has K points; drawn in, its outermost are 1 / (p + m) from the faces
    np.testing.assert_allclose(even_design(m, K).min(axis=0), 1 / (p + m), atol=1e-9)


def test_even_design_is_deterministic_and_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = even_design(4, 7)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    np.random.random()  # noqa: NPY002
    assert np.array_equal(first, even_design(4, 7))


@pytest.mark.usefixtures("unchecked")
def test_a_number_gives_the_even_design_and_its_corners():
    given_ = build_design(5, NAMES)
    assert given_.even
    assert given_.notes == ()
    np.testing.assert_array_equal(given_.preferences, even_design(2, 5))
    assert build_design(np.int64(5), NAMES).even
    assert not build_design([[0.5, 0.5]], NAMES).even


def test_names_give_the_order():
    np.testing.assert_array_equal(build_design([{"b": 0.7, "a": 0.3}], NAMES).preferences, [[0.3, 0.7]])


@pytest.mark.parametrize("row", [[0.2, 0.3, 0.5], [1.0], [], 0.3, [[0.3], [0.7]]])
@pytest.mark.usefixtures("unchecked")
@pytest.mark.fault(19)
def test_wrong_length(row):
    with pytest.raises(ValueError, match=r"preferences\[1\].*give (2 numbers|a list of preferences)"):
        build_design([[0.5, 0.5], row], NAMES)


@pytest.mark.parametrize("row", [{"a": 0.3}, {"a": 0.3, "c": 0.7}, {"a": 0.3, "b": 0.3, "c": 0.4}])
@pytest.mark.fault(19)
def test_wrong_names(row):
    with pytest.raises(ValueError, match=r"preferences\[0\] has the keys .*give \['a', 'b'\]"):
        build_design([row], NAMES)


@pytest.mark.fault(20)
def test_negative():
    with pytest.raises(ValueError, match=r"preferences\[1\] = \[1\.5, -0\.5\] has a negative entry"):
        build_design([[0.5, 0.5], [1.5, -0.5]], NAMES)


@pytest.mark.parametrize(
    ("row", "said"),
    [([0, 0], "all zero"), ([0.0, -0.0], "all zero"), ([np.nan, 1], "not finite"), ([np.inf, 1], "not finite")],
)
@pytest.mark.usefixtures("unchecked")
@pytest.mark.fault(21)
def test_all_zero_or_not_finite(row, said):
    with pytest.raises(ValueError, match=rf"preferences\[0\].*{said}"):
        build_design([row], NAMES)


@pytest.mark.parametrize(
    "given_", [True, 0, -3, 2.0, "ab", {"a": 0.3, "b": 0.7}, None, [], np.ones((0, 2)), ["ab"], [["x", "y"]]]
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_list_of_preferences(given_):
    with pytest.raises(ValueError, match="preferences"):
        build_design(given_, NAMES)


@pytest.mark.fault(22)
def test_other_sums_are_normalised_and_noted():
    asked = build_design([[0.25, 0.75], [2.0, 6.0]], ["a", "b"])
    assert len(asked.preferences) == 1
    assert "preferences[1] = [2.0, 6.0] did not sum to 1" in asked.notes[0]
    assert build_design([[0.25, 0.75], [0.1 + 0.2, 0.7]], NAMES).notes == ()


@pytest.mark.parametrize("r", [[0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0]])
@pytest.mark.fault(23)
def test_zero_entries_are_kept_and_their_ray_is_finite(r):
    asked = build_design([r], list("abcd")[: len(r)]).preferences[0]
    np.testing.assert_array_equal(asked, r)
    where = ray(asked)
    assert np.isfinite(where).all()
    assert where.sum() == pytest.approx(1)
    assert where[np.array(r) == 0].min() > 1e5 * where[np.array(r) > 0].max()
    assert raise_to_floor(asked).min() == pytest.approx(FLOOR, rel=1e-5)
    assert np.isfinite(control_error(np.ones(len(r)), asked))


@pytest.mark.fault(24)
def test_duplicates_are_dropped_and_noted():
    asked = build_design([[0.5, 0.5], [0.3, 0.7], [1.0, 1.0], [0.3 + 1e-15, 0.7]], NAMES)
    np.testing.assert_allclose(asked.preferences, [[0.5, 0.5], [0.3, 0.7]])
    assert any("2 duplicate" in note and "2 left" in note for note in asked.notes)


@pytest.mark.fault(24)
def test_close_preferences_are_no_duplicates():
    asked = build_design([[0.5, 0.5], [0.500002, 0.499998]], NAMES)
    assert len(asked.preferences) == 2
    assert asked.notes == ()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([1, 3], [0.25, 0.75]),
        (np.array([1, 3]), [0.25, 0.75]),
        (np.array([1, 3], dtype=np.uint8), [0.25, 0.75]),
        (np.array([0.25, 0.75], dtype=np.float32), [0.25, 0.75]),
        ([1e308, 1e308], [0.5, 0.5]),
        ([5e-324, 5e-324], [0.5, 0.5]),
        ([1e308, 1e-308], [1.0, 0.0]),
    ],
)
@pytest.mark.usefixtures("unchecked")
@pytest.mark.fault(25)
def test_integers_and_extreme_entries(row, expected):
    np.testing.assert_allclose(normalise(row, 2), expected, atol=1e-15)
    asked = build_design([row], NAMES).preferences
    assert asked.dtype == np.float64
    np.testing.assert_allclose(asked, [expected], atol=1e-15)


@pytest.mark.parametrize("m", [2, 3, 5])
@settings(deadline=None, derandomize=True, max_examples=50)
@given(data=st.data())
def test_ray_times_preference_is_the_same_everywhere(m, data):
    r = data.draw(simplex(m))
    products = ray(r) * raise_to_floor(r)
    assert np.ptp(products) <= 1e-12 * products.max()
    assert ray(r).sum() == pytest.approx(1)


def test_a_larger_preference_asks_for_a_smaller_loss():
    np.testing.assert_allclose(ray(np.array([0.2, 0.8])), [0.8, 0.2])
    np.testing.assert_allclose(ray(np.array([0.5, 0.25, 0.25])), [0.2, 0.4, 0.4])


@pytest.mark.parametrize("m", [2, 3, 5])
@settings(deadline=None, derandomize=True, max_examples=50)
@given(data=st.data(), length=st.floats(1e-6, 1e6))
def test_control_error_is_0_on_the_ray(m, data, length):
    r = data.draw(simplex(m))
    assert control_error(length * ray(r), r) < 1e-12


@pytest.mark.parametrize("degrees", [1e-6, 1e-3, 1.0, 30.0, 44.0])
@pytest.mark.parametrize("r", [[0.5, 0.5], [0.3, 0.7], [0.2, 0.5, 0.3]])
def test_control_error_is_the_angle(r, degrees):
    assert control_error(turned(np.array(r), degrees), np.array(r)) == pytest.approx(degrees, rel=1e-7)


def test_control_error_of_known_vectors():
    losses = np.array([[1.0, 1.0], [1.0, 0.0], [0.2, 0.8]])
    asked = np.array([[0.5, 0.5], [0.5, 0.5], [0.2, 0.8]])
    beyond = 2 * (45 - np.degrees(np.arctan(0.25)))  # (0.2, 0.8) and its ray (0.8, 0.2) mirror each other
    np.testing.assert_allclose(control_error(losses, asked), [0, 45, beyond], atol=1e-12)


def test_control_error_does_not_depend_on_the_scale_of_the_losses():
    r = np.array([0.3, 0.7])
    np.testing.assert_allclose(control_error(1e9 * turned(r, 7), r), control_error(1e-9 * turned(r, 7), r), rtol=1e-12)


def test_losses_of_zero_are_on_every_ray():
    # r_i l_i is equal over i, which is all that a preference asks
    assert control_error(np.zeros(2), np.array([0.3, 0.7])) == 0
