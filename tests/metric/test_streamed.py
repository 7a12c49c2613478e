"""Metrics of rows that stay in their files, beside NumPy's and scikit-learn's covariance."""

import numpy as np
import pandas as pd
import pytest
from sklearn.covariance import LedoitWolf

import fastclust as fc
from fastclust.errors import InputError


@pytest.fixture(params=[np.float32, np.float64])
def rows(request):
    rng = np.random.default_rng(0)
    return (rng.normal(size=(5000, 7)) @ rng.normal(size=(7, 7)) + 100).astype(request.param)


@pytest.mark.parametrize("estimator", ["empirical", "ledoit_wolf"])
def test_the_covariance_is_that_of_all_rows(rows, tmp_path, estimator):
    few = rows[:40] if estimator == "ledoit_wolf" else rows
    np.save(tmp_path / "x.npy", few)
    source = fc.open_rows(tmp_path / "x.npy", memory="20kB")
    metric = fc.MahalanobisMetric(estimator).fit(source)
    theirs = LedoitWolf().fit(few.astype(np.float64)) if estimator == "ledoit_wolf" else None
    wanted = np.cov(few.T.astype(np.float64)) if theirs is None else theirs.covariance_
    np.testing.assert_allclose(metric.get_mahalanobis_matrix(), np.linalg.inv(wanted), rtol=1e-8)
    np.testing.assert_allclose(metric.mean_, few.mean(axis=0, dtype=np.float64), rtol=1e-12)
    if theirs is not None:
        assert metric.shrinkage_ == pytest.approx(theirs.shrinkage_, rel=1e-10)


def test_mapped_rows_are_written_and_a_bad_row_is_refused(rows, tmp_path):
    np.save(tmp_path / "x.npy", rows)
    metric = fc.MahalanobisMetric().fit(rows)
    metric.transform_to(fc.open_rows(tmp_path / "x.npy", memory="20kB"), tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out")
    assert np.array_equal(table["row"], np.arange(len(rows)))
    np.testing.assert_allclose(np.stack(table["mapped"]), metric.transform(rows), rtol=1e-4, atol=1e-4)
    rows[4321, 2] = np.nan
    np.save(tmp_path / "bad.npy", rows)
    with pytest.raises(InputError, match="nan"):
        fc.MahalanobisMetric().fit(fc.open_rows(tmp_path / "bad.npy", memory="20kB"))
