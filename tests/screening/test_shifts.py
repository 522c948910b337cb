"""Random shifts: the pattern stays itself, p values count, the correction is that of Westfall and Young."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoprospect.errors import InputError
from geoprospect.screening.shifts import family_wise, p_values, random_shifts, shifted_places, standardised

SIDE = 40
PATTERN = np.random.default_rng(0).uniform(5, 35, size=(12, 2))


def place_of(points, ground=None):
    cell = np.floor(points).astype(int)
    inside = ((cell >= 0) & (cell < SIDE)).all(axis=1)
    number = np.where(inside, cell[:, 1] * SIDE + cell[:, 0], 0)
    return np.where(inside if ground is None else inside & ground[number], number, -1)


def shifted(n, seed=0, points=PATTERN, ground=None):
    return shifted_places(points, (SIDE, SIDE), lambda p: place_of(p, ground), n, np.random.default_rng(seed))


def test_the_first_is_the_pattern_itself_and_all_keep_half_of_it():
    places = shifted(500)
    assert places.shape == (501, 12)
    np.testing.assert_array_equal(places[0], place_of(PATTERN))
    assert ((places >= 0).sum(axis=1) >= 6).all()
    np.testing.assert_array_equal(places, shifted(500))
    assert (shifted(500, seed=1)[1:] != places[1:]).any()


def test_a_shift_moves_all_points_alike():
    row, col = np.divmod(shifted(300), SIDE)
    there = shifted(300) >= 0
    first_row, first_col = np.divmod(place_of(PATTERN), SIDE)
    for one in range(1, 301):
        kept = there[one]
        for moved, before in ((row[one], first_row), (col[one], first_col)):
            step = (moved - before)[kept]
            assert np.ptp(step) <= 1  # a point may cross a line between cells that another does not reach


def test_points_that_come_to_share_a_place_count_once():
    close = np.array([[10.6, 10.5], [11.2, 10.5], [20.5, 20.5]])
    places = shifted(200, points=close)
    together = [(np.unique(row[row >= 0]).size, (row >= 0).sum()) for row in places]
    assert all(different == counted for different, counted in together)
    assert {counted for _, counted in together} <= {1, 2, 3}
    assert together[0][1] == 3
    assert 2 in {counted for row, (_, counted) in zip(places, together, strict=True) if row[2] >= 0}


def test_all_directions_are_drawn_alike():
    middle = np.array([[20.0, 20.0]]) + np.random.default_rng(1).uniform(-1, 1, size=(5, 2))
    places = shifted(4000, points=middle)[1:, 0]
    row, col = np.divmod(places[places >= 0], SIDE)
    for at in (row, col):
        counts = np.histogram(at, bins=4, range=(0, SIDE))[0]
        assert counts.min() > 0.85 * counts.mean()


def test_patchy_ground_lets_fewer_points_stay_and_hopeless_ground_is_refused():
    rng = np.random.default_rng(2)
    patchy = rng.random(SIDE**2) < 0.35
    patchy[place_of(PATTERN)] = True
    kept = (shifted(200, ground=patchy) >= 0).sum(axis=1)
    assert kept[0] == 12
    assert 3 <= kept[1:].min() < 6
    only_there = np.zeros(SIDE**2, dtype=bool)
    only_there[place_of(PATTERN)] = True
    with pytest.raises(InputError, match=r"permutations=5000: only .* cells with data; pass permutations=0"):
        shifted(5000, ground=only_there)


def test_shifts_are_those_of_the_screening_and_can_be_kept_apart():
    every, places = random_shifts(PATTERN, (SIDE, SIDE), place_of, 300, np.random.default_rng(0))
    np.testing.assert_array_equal(np.where(shifted(300)[1:] < 0, -1, places), shifted(300)[1:])
    for shift, moved in zip(every, places, strict=True):
        np.testing.assert_array_equal(place_of(PATTERN + shift), moved)
    assert (np.abs(every) < 8).all(axis=1).any()
    far = random_shifts(PATTERN, (SIDE, SIDE), place_of, 300, np.random.default_rng(0), apart=0.2)[0]
    assert len(far) == 300
    assert (np.abs(far) >= 8).any(axis=1).all()


def test_means_of_fewer_points_are_drawn_together():
    rng = np.random.default_rng(3)
    n = rng.integers(5, 41, size=(4000, 1))
    for power in (-1.0, -2.0):
        means = 0.5 + rng.normal(size=n.shape) * n ** (power / 2)
        scores = standardised(means, n)
        assert scores.std() == pytest.approx(1)
        few, many = scores[n < 12], scores[n > 30]
        assert few.std() == pytest.approx(many.std(), rel=0.1)
        assert (means[n < 12].std() / means[n > 30].std()) > 1.5


def test_bands_without_points_or_spread_score_nothing():
    means, counts = np.full((50, 3), 0.4), np.full((50, 3), 7)
    means[:, 1] = np.linspace(0, 1, 50)
    counts[:, 2] = 0
    scores = standardised(means, counts)
    assert (scores[:, [0, 2]] == 0).all()
    assert scores[:, 1].std() == pytest.approx(1)
    np.testing.assert_array_equal(p_values(scores, "two-sided")[[0, 2]], [1, 1])


def slow_p(scores, alternative):
    """Count, one by one; bands stepwise after Westfall and Young."""
    turned = {"two-sided": abs(scores), "enriched": scores, "depleted": -scores}[alternative]
    m, bands = len(turned) - 1, turned.shape[1]
    single = [(1 + sum(turned[i, j] >= turned[0, j] for i in range(1, m + 1))) / (m + 1) for j in range(bands)]
    left, family, floor = list(range(bands)), [0.0] * bands, 0.0
    while left:
        best = max(left, key=lambda j: turned[0, j])
        beaten = sum(max(turned[i, j] for j in left) >= turned[0, best] for i in range(1, m + 1))
        floor = max(floor, (1 + beaten) / (m + 1))
        family[best] = floor
        left.remove(best)
    return single, family


@given(st.integers(0, 2**31), st.integers(1, 6), st.sampled_from(["two-sided", "enriched", "depleted"]))
def test_p_values_are_counted(seed, bands, alternative):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(40, bands)).round(1) + rng.normal(size=(40, 1)).round(1)
    scores[0] = np.unique(rng.normal(size=50).round(2))[:bands] * 2  # different, so that the order is clear
    single, family = slow_p(scores, alternative)
    np.testing.assert_allclose(p_values(scores, alternative), single)
    if np.unique(np.abs(scores[0])).size == bands:
        np.testing.assert_allclose(family_wise(scores, alternative), family)
    assert (family_wise(scores, alternative) >= p_values(scores, alternative)).all()


def test_equal_bands_are_corrected_as_one():
    scores = np.random.default_rng(4).normal(size=(200, 1)).repeat(16, axis=1)
    scores[0] = 2.5
    np.testing.assert_allclose(family_wise(scores, "two-sided"), p_values(scores, "two-sided"))
