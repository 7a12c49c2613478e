"""k-means over a file that is read in blocks, and its labels as Parquet: python larger_than_memory.py [ROWS]."""

from __future__ import annotations

import sys

import numpy as np
import pyarrow.parquet as pq

import fastclust as fc


def main(rows: int = 70_000) -> float:
    """Return the inertia a row."""
    images = fc.open_images("fashion-mnist")
    np.save("rows.npy", images.read()[:rows].reshape(rows, -1).astype(np.float32))
    size = rows * 784 * 4
    source = fc.open_rows("rows.npy", memory=size // 4)  # a quarter of what the rows take
    model = fc.KMeans(10, init="k-means||", max_iter=20, random_state=0).fit(source, checkpoint="fit")
    model.predict_to(source, "labels")
    table = pq.read_table("labels")
    print(f"{table.num_rows} labels of {size / 1e6:.0f} MB of rows, written to labels/")
    return float(model.inertia_) / rows


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
