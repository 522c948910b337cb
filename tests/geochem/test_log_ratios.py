"""Log-ratios: published values, the geometry they promise, the contract of scikit-learn, and robust factors."""

import itertools

import numpy as np
import pandas as pd
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chi2
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from geoprospect.errors import InputError, NameNotFoundError
from geoprospect.geochem.log_ratios import ALR, CLR, ILR, CompositionalPCA, Log10, balances, pivot_signs

BOOK = [[0.1, 0.3, 0.4, 0.2]]
ALL = [Log10(), CLR(), ALR(), ILR(), CLR(1e6, rest=True), ALR(closure=1e6, rest=True), ILR(closure=1e6, rest=True)]
RATIOS = [CLR(), ALR(), ALR(0), ILR(), CLR(rest=True), ALR(rest=True), ILR(rest=True)]


def table(n=50, names="Cu Zn Pb Ni", seed=0):
    names = names.split()
    parts = np.random.default_rng(seed).lognormal(0, 1, (n, len(names)))
    return pd.DataFrame(parts / parts.sum(axis=1, keepdims=True) * 0.9, columns=names)


compositions = st.tuples(st.integers(1, 6), st.integers(2, 8)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(1e-4, 1e4))
)


# -- published values --------------------------------------------------------------------------


def test_values_of_the_scikit_bio_manual():
    np.testing.assert_allclose(
        CLR().fit_transform(BOOK)[0], [-0.79451346, 0.30409883, 0.5917809, -0.10136628], atol=1e-8
    )
    np.testing.assert_allclose(ALR(0).fit_transform(BOOK)[0], [1.09861229, 1.38629436, 0.69314718], atol=1e-8)
    # Its default basis: each part against those before it.
    before = [[1, -1, 0, 0], [1, 1, -1, 0], [1, 1, 1, -1]]
    np.testing.assert_allclose(ILR(before).fit_transform(BOOK)[0], [-0.7768362, -0.68339802, 0.11704769], atol=1e-8)


def test_pivot_coordinates_are_those_of_fiserova_and_hron():
    x = np.array(BOOK[0])
    n = len(x)
    expected = [
        np.sqrt((n - i) / (n - i + 1)) * np.log(x[i - 1] / np.prod(x[i:]) ** (1 / (n - i))) for i in range(1, n)
    ]
    np.testing.assert_allclose(ILR().fit_transform(BOOK)[0], expected, rtol=1e-12)


# -- the geometry ------------------------------------------------------------------------------


@settings(max_examples=examples(40, 100))
@given(compositions)
def test_clr_is_centred_and_blind_to_the_scale_of_a_sample(parts):
    ratios = CLR().fit_transform(parts)
    np.testing.assert_allclose(ratios.sum(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(CLR().fit_transform(parts * 7), ratios, atol=1e-9)


@settings(max_examples=examples(40, 100))
@given(compositions, st.integers(0, 99))
def test_ilr_keeps_the_distances_of_clr(parts, seed):
    order = np.random.default_rng(seed).permutation(parts.shape[1]).astype(str)
    names = np.arange(parts.shape[1]).astype(str)
    frame = pd.DataFrame(parts, columns=names)
    clr, ilr = CLR().fit_transform(parts), ILR(list(order)).fit_transform(frame)
    for i, j in itertools.combinations(range(len(parts)), 2):
        assert np.linalg.norm(ilr[i] - ilr[j]) == pytest.approx(np.linalg.norm(clr[i] - clr[j]), abs=1e-9)


def test_alr_does_not_keep_distances():
    parts = table(2).to_numpy()
    clr, alr = (np.linalg.norm(np.subtract(*model.fit_transform(parts))) for model in (CLR(), ALR()))
    assert alr > 1.2 * clr


@pytest.mark.parametrize("model", RATIOS, ids=repr)
@settings(max_examples=examples(25, 100))
@given(parts=compositions)
def test_the_way_back_leads_to_the_closed_parts(model, parts):
    whole = 1.1 * parts.sum(axis=1).max()
    model = clone(model).set_params(closure=whole)
    back = model.inverse_transform(model.fit_transform(parts))
    closed = parts if model.rest else parts / parts.sum(axis=1, keepdims=True) * whole
    np.testing.assert_allclose(back, closed, rtol=1e-6)


def test_the_clr_of_a_part_depends_on_what_stands_beside_it_but_ratios_do_not():
    parts = table()
    whole, some = (CLR().set_output(transform="pandas").fit_transform(parts[c]) for c in (list(parts), ["Cu", "Zn"]))
    assert np.abs(whole["Cu"] - some["Cu"]).max() > 0.5
    np.testing.assert_allclose(whole["Cu"] - whole["Zn"], some["Cu"] - some["Zn"], atol=1e-12)
    alr = [ALR("Zn").set_output(transform="pandas").fit_transform(parts[c]) for c in (list(parts), ["Cu", "Zn"])]
    np.testing.assert_allclose(alr[0]["Cu_over_Zn"], alr[1]["Cu_over_Zn"], atol=1e-12)


def test_the_rest_ties_traces_to_the_whole():
    ppm = table() * 1000
    alr = ALR(closure=1e6, rest=True).fit_transform(ppm)
    np.testing.assert_allclose(alr, np.log(ppm.to_numpy() / (1e6 - ppm.sum(axis=1).to_numpy())[:, None]), rtol=1e-12)
    # Twice as much of everything is another sample now; without the rest it is the same one.
    assert np.abs(CLR(1e6, rest=True).fit_transform(ppm * 2) - CLR(1e6, rest=True).fit_transform(ppm)).max() > 0.3
    np.testing.assert_allclose(CLR().fit_transform(ppm * 2), CLR().fit_transform(ppm), atol=1e-12)


def test_the_order_of_parts_orders_the_columns_and_nothing_else():
    parts = table()
    other = list(reversed(parts.columns))
    there, here = (CLR().set_output(transform="pandas").fit_transform(parts[c]) for c in (other, list(parts)))
    pd.testing.assert_frame_equal(there[list(parts)], here)


@given(st.integers(2, 12))
def test_balances_are_an_orthonormal_basis(n):
    basis = balances(pivot_signs(n))
    np.testing.assert_allclose(basis @ basis.T, np.eye(n - 1), atol=1e-12)
    np.testing.assert_allclose(basis.sum(axis=1), 0, atol=1e-12)


def test_large_ratios_do_not_overflow_on_the_way_back():
    np.testing.assert_allclose(ALR().fit([[0.5, 0.5]]).inverse_transform([[2000.0]]), [[1, 0]])


# -- logarithms --------------------------------------------------------------------------------


@given(arrays(np.float64, (3, 2), elements=st.floats(1e-9, 1e9) | st.just(np.nan)))
def test_logarithms_lead_back_and_leave_what_is_missing(values):
    model = Log10().fit(values)
    logs = model.transform(values)
    np.testing.assert_array_equal(np.isnan(logs), np.isnan(values))
    np.testing.assert_allclose(model.inverse_transform(logs), values, rtol=1e-12)


# -- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (Log10(), ["Cu", "Zn", "Pb", "Ni"]),
        (CLR(), ["Cu", "Zn", "Pb", "Ni"]),
        (CLR(rest=True), ["Cu", "Zn", "Pb", "Ni", "rest"]),
        (ALR("Zn"), ["Cu_over_Zn", "Pb_over_Zn", "Ni_over_Zn"]),
        (ALR(), ["Cu_over_Ni", "Zn_over_Ni", "Pb_over_Ni"]),
        (ALR(rest=True), ["Cu_over_rest", "Zn_over_rest", "Pb_over_rest", "Ni_over_rest"]),
        (ILR(), ["ilr1_Cu_over_Zn_Pb_Ni", "ilr2_Zn_over_Pb_Ni", "ilr3_Pb_over_Ni"]),
        (ILR(["Ni", "Pb", "Cu", "Zn"]), ["ilr1_Ni_over_Cu_Zn_Pb", "ilr2_Pb_over_Cu_Zn", "ilr3_Cu_over_Zn"]),
        (ILR([[1, 1, -1, -1], [1, -1, 0, 0], [0, 0, 1, -1]]),
         ["ilr1_Cu_Zn_over_Pb_Ni", "ilr2_Cu_over_Zn", "ilr3_Pb_over_Ni"]),
    ],
    ids=str,
)  # fmt: skip
def test_outputs_have_names_that_say_what_they_contrast(model, names):
    framed = clone(model).set_output(transform="pandas").fit_transform(table())
    assert list(framed) == names
    assert len(clone(model).fit(table()).long_names_out(list(table()))) == len(names)


def test_long_sides_are_cut_and_names_still_differ():
    parts = table(names="A B C D E F G")
    names = ILR().fit(parts).get_feature_names_out()
    assert names[0] == "ilr1_A_over_B_C_D_and_3"
    assert len(set(names)) == 6


def test_names_may_come_later():
    assert list(ALR().fit(BOOK).get_feature_names_out(["a", "b", "c", "d"])) == ["a_over_d", "b_over_d", "c_over_d"]


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [Log10(), CLR(), ALR(), ILR(), CompositionalPCA(1, robust=False)], ids=repr)
@pytest.mark.parametrize("wrong", [0.0, -1.0])
def test_zeros_and_negative_values_are_refused_with_their_place(model, wrong):
    parts = table().set_index(np.arange(100, 150))
    fitted = clone(model).fit(parts)
    parts.iloc[[3, 7], 2] = wrong
    message = rf"column 'Pb': 2 values are 0 or negative \(row 103, 107; the first is {wrong:g}\).*replace_censored"
    for call in (clone(model).fit, fitted.transform):
        with pytest.raises(InputError, match=message):
            call(parts)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (CLR(rest=True), r"closure=1\.0: the parts of 50 rows leave no rest \(row 0, 1, 2.*1e6 for ppm"),
        (CLR(closure=0), "closure=0: needs a number"),
        (ALR(4), "denominator=4: there are 4 parts"),
        (ALR(-5), "denominator=-5: needs a whole number"),
        (ILR([[1, -1]]), r"partition: has shape \(1, 2\), needs 3 rows for 4 parts"),
        (ILR([[1, -1, 0, 0], [1, -1, 0, 0], [0, 0, 1, -1]]), "partition: rows 0 and 1 overlap"),
        (ILR([[1, 1, 1, 1], [1, -1, 0, 0], [0, 0, 1, -1]]), r"partition\[0\]=.*needs a 1 and a -1"),
        (ILR([[2, -1, 0, 0], [1, -1, 0, 0], [0, 0, 1, -1]]), "partition: holds .*2"),
        (ILR(["Cu", "Zn"]), "partition: 'Ni' is not once among both"),
        (ILR(["Cu", "Cu", "Zn", "Pb"]), "partition: 'Ni' is not once"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused_when_fitted(model, message):
    with pytest.raises(InputError, match=message):
        model.fit(table() * 2)


def test_an_unknown_denominator_is_named():
    with pytest.raises(NameNotFoundError, match="no part 'Zr'"):
        ALR("Zr").fit(table())


def test_a_part_called_rest_cannot_have_another_beside_it():
    with pytest.raises(InputError, match="'rest' already"):
        CLR(rest=True).fit(table(names="Cu rest"))


def test_the_way_back_asks_for_all_ratios():
    with pytest.raises(InputError, match="has 2 columns, needs the 3"):
        ILR().fit(table()).inverse_transform([[0.0, 0.0]])


def test_one_part_has_no_ratio_and_missing_parts_none():
    with pytest.raises(ValueError, match="minimum of 2"):
        CLR().fit([[1.0], [2.0]])
    with pytest.raises(ValueError, match="NaN"):
        CLR().fit([[1.0, np.nan]])


# -- the contract ------------------------------------------------------------------------------


def failed(model):
    results = estimator_checks.check_estimator(model, on_skip=None, on_fail=None)
    assert len(results) > 40
    return {one["check_name"]: str(one["exception"]) for one in results if one["status"] == "failed"}


@pytest.mark.parametrize("model", [*ALL, CompositionalPCA(1), CompositionalPCA(1, robust=False)], ids=repr)
def test_the_contract_of_scikit_learn_holds_for_positive_data(monkeypatch, model):
    given = estimator_checks._enforce_estimator_tags_X

    def positive(*args, **kwargs):
        made = given(*args, **kwargs)
        return tuple(X + 1 for X in made) if isinstance(made, tuple) else made + 1

    # For estimators of positive data the checks make the least value 0, as for counts. A 0 has no logarithm.
    monkeypatch.setattr(estimator_checks, "_enforce_estimator_tags_X", positive)
    # This one asks for the words 'Negative values in data', which name neither column nor row.
    assert set(failed(model)) == {"check_positive_only_tag_during_fit"}


@pytest.mark.parametrize("model", [Log10(), CLR()], ids=repr)
def test_what_fails_of_the_contract_as_it_is_fails_for_the_zero(model):
    assert all("0 or negative" in message for message in failed(model).values())


def test_they_work_in_a_pipeline():
    parts = table()
    scores = make_pipeline(ILR(), PCA(2)).fit_transform(parts)
    by_hand = PCA(2).fit_transform(ILR().fit_transform(parts))
    np.testing.assert_allclose(scores, by_hand)
    assert list(make_pipeline(ILR(), PCA(2)).fit(parts).get_feature_names_out()) == ["pca0", "pca1"]


# -- robust factors ----------------------------------------------------------------------------


def two_groups(n=160, outliers=0, seed=0):
    """Cu and Ni go together, against Ba and Rb; Zr is noise. Outliers lie across."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(0, 1, (n, 1))
    logs = 0.8 * factor * [1, 1, -1, -1, 0] + rng.normal(0, 0.1, (n, 5))
    logs[:outliers] = rng.normal([0, 0, 0, 6, 12], 0.1, (outliers, 5))
    return pd.DataFrame(np.exp(logs), columns=["Cu", "Ni", "Ba", "Rb", "Zr"])


def mcd_reference(x, starts, rng):
    """The minimum covariance determinant by concentration steps from many random starts, reweighted once."""
    n, p = x.shape
    h, best, least = int(np.ceil((n + p + 1) / 2)), None, np.inf
    for _ in range(starts):
        subset = rng.choice(n, p + 1, replace=False)
        for _ in range(100):
            centre, covariance = x[subset].mean(axis=0), np.cov(x[subset].T, bias=True)
            distance = np.einsum("ij,jk,ik->i", x - centre, np.linalg.pinv(covariance), x - centre)
            closer = np.sort(np.argsort(distance, kind="stable")[:h])
            if np.array_equal(closer, subset):
                break
            subset = closer
        if np.linalg.det(covariance) < least:
            least, best = np.linalg.det(covariance), (centre, covariance, distance)
    centre, covariance, distance = best
    good = distance / np.median(distance) * chi2(p).isf(0.5) < chi2(p).isf(0.025)
    return x[good].mean(axis=0), np.cov(x[good].T, bias=True)


def test_robust_factors_are_those_of_a_slow_search():
    parts = two_groups(outliers=40, seed=3)  # where both searches end at the same half of the samples
    # Another basis than the one inside: the determinant does not ask for it.
    basis = np.linalg.qr(np.column_stack([np.ones(5), np.eye(5)[:, :4]]))[0][:, 1:]
    location, covariance = mcd_reference(np.log(parts.to_numpy()) @ basis, 60, np.random.default_rng(3))
    variances, vectors = np.linalg.eigh(covariance)
    expected = basis @ vectors[:, ::-1]
    model = CompositionalPCA(4).fit(parts)
    np.testing.assert_allclose(np.abs(model.loadings_.T @ expected), np.eye(4), atol=1e-6)
    np.testing.assert_allclose(model.explained_variance_ratio_, variances[::-1] / variances.sum(), rtol=1e-6)
    np.testing.assert_allclose(model.center_, basis @ location, atol=1e-9)


def test_outliers_turn_the_classical_factor_and_not_the_robust_one():
    clean, spoilt = two_groups(), two_groups(outliers=40)
    truth = np.array([1, 1, -1, -1, 0]) / 2
    for parts, robust, agrees in [
        (clean, True, True),
        (clean, False, True),
        (spoilt, True, True),
        (spoilt, False, False),
    ]:
        first = CompositionalPCA(1, robust=robust).fit(parts).loadings_[:, 0]
        assert (abs(first @ truth) > 0.99) == agrees


def test_classical_factors_are_the_eigenvectors_of_the_clr():
    parts = two_groups()
    model = CompositionalPCA(4, robust=False).fit(parts)
    pca = PCA(4).fit(CLR().fit_transform(parts))
    np.testing.assert_allclose(np.abs(model.loadings_.T @ pca.components_.T), np.eye(4), atol=1e-9)
    np.testing.assert_allclose(model.explained_variance_ratio_, pca.explained_variance_ratio_, rtol=1e-9)
    expected = (CLR().fit_transform(parts) - model.center_) @ model.loadings_
    np.testing.assert_allclose(model.transform(parts), expected, atol=1e-9)


def test_loadings_sum_up_to_0_have_length_1_and_a_fixed_sign():
    for seed in range(5):
        loadings = CompositionalPCA(4).fit(two_groups(seed=seed)).loadings_
        np.testing.assert_allclose(loadings.sum(axis=0), 0, atol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(loadings, axis=0), 1)
        assert (loadings[np.abs(loadings).argmax(axis=0), range(4)] > 0).all()


def test_units_move_the_centre_and_no_factor():
    parts = two_groups()
    here, there = (CompositionalPCA(2).fit(p) for p in (parts, parts * [1, 1000, 1e-4, 1, 50]))
    np.testing.assert_allclose(there.loadings_, here.loadings_, atol=1e-6)


@pytest.mark.parametrize(
    ("parts", "settings", "message"),
    [
        (two_groups(19), {}, "19 complete rows are too few for 5 parts, needs at least 20.*robust=False"),
        (two_groups(), {"n_factors": 5}, "n_factors=5: 5 parts and 160 rows have at most 4"),
        (two_groups(), {"n_factors": 0}, "n_factors=0"),
        (two_groups().assign(Ag=lambda f: f["Cu"] * 2), {}, "keep the same ratio.*robust=False"),
        (two_groups().assign(Cu=1.0, Ni=2.0), {}, r"most repeated value is of 'Cu' \(100% of the rows\)"),
        (two_groups() * 0 + 1, {"robust": False}, "nothing to explain"),
    ],
)  # fmt: skip
def test_what_cannot_be_factored_is_refused(parts, settings, message):
    with pytest.raises(InputError, match=message):
        CompositionalPCA(**{"n_factors": 1, **settings}).fit(parts)


def test_too_few_rows_for_robust_factors_are_enough_for_classical_ones():
    assert CompositionalPCA(1, robust=False).fit(two_groups(6)).loadings_.shape == (5, 1)
