"""Principal components of rows in files, beside scikit-learn's."""

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

import fastclust as fc
from fastclust.errors import InputError, PreconditionError


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(9000, 12)) @ rng.normal(size=(12, 12)) * np.linspace(4, 1, 12) + 5).astype(np.float32)


def test_components_and_scores_are_scikit_learns(rows, tmp_path):
    np.save(tmp_path / "x.npy", rows)
    model = fc.PCA(4).fit(fc.open_rows(tmp_path / "x.npy", memory="100kB"))
    theirs = PCA(4, svd_solver="full").fit(rows.astype(np.float64))
    signs = np.sign((model.components_ * theirs.components_).sum(axis=1))
    np.testing.assert_allclose(model.components_, signs[:, None] * theirs.components_, atol=1e-4)
    np.testing.assert_allclose(model.transform(rows), signs * theirs.transform(rows), rtol=1e-3, atol=1e-2)
    model.save(tmp_path / "pca.safetensors")
    loaded = fc.PCA.load(tmp_path / "pca.safetensors")
    assert np.array_equal(loaded.transform(rows), model.transform(rows))
    model.transform_to(fc.open_rows(tmp_path / "x.npy", memory="100kB"), tmp_path / "scores")
    table = pd.read_parquet(tmp_path / "scores")
    np.testing.assert_allclose(np.stack(table["scores"]), model.transform(rows), rtol=1e-4, atol=1e-3)
    with pytest.raises(PreconditionError):
        fc.PCA(4).fit(rows[:100]).transform_to(tmp_path / "x.npy", tmp_path / "scores")


@pytest.mark.parametrize("many", [0, 13, True])
def test_more_components_than_columns_are_refused(rows, many):
    with pytest.raises(InputError, match=r"1\.\.12"):
        fc.PCA(many).fit(rows)
    with pytest.raises(InputError, match="columns"):
        fc.PCA(2).fit(rows).transform(rows[:, :3])
