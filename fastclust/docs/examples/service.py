"""A whole run on a server, and questions to its model: python service.py [ADDRESS] [ROWS]."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
from sklearn.datasets import load_digits

from fastclust.client import Client

if TYPE_CHECKING:
    from pathlib import Path


def main(address: str = "localhost:50051", rows: int | str = 1797) -> list[Path]:
    """Return the files that the run left."""
    X = load_digits().data[: int(rows)].astype(np.float32)
    with Client(address) as client:
        data = client.upload(X, name="digits")
        job = client.kmeans(data, n_clusters=10, random_state=0)
        print("labels:", np.bincount(job.result(timeout=600).labels))
        print("asked again, at once:", client.assign(job, X[:5]))
        run = client.pipeline(data, n_clusters=10, steps=["clusters", "report"], random_state=0)
        for state in run.watch():
            print(f"{state.fraction:4.0%} {state.step}")
        return run.download("digits-run")


if __name__ == "__main__":
    main(*sys.argv[1:])
