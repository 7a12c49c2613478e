"""A real Ray cluster of two local nodes, started once for the tests here; a server that sends jobs there; rows."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from ray.cluster_utils import Cluster
from sklearn.datasets import load_digits

from tests.server.conftest import Server

N, D = 40_000, 6


@pytest.fixture(scope="package")
def cluster():
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 10**8, "include_dashboard": False}
    )
    cluster.add_node(num_cpus=1, object_store_memory=10**8)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="package")
def rows():
    rng = np.random.default_rng(3)
    return (rng.normal(size=(40, D))[rng.integers(40, size=N)] * 4 + rng.normal(size=(N, D))).astype(np.float32)


@pytest.fixture(scope="package")
def files(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    for number, part in enumerate(np.array_split(rows, [7000, 19_000])):
        vector = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), D)
        pq.write_table(pa.table({"v": vector}), folder / f"{number}.parquet", row_group_size=3000)
    return folder


@pytest.fixture(scope="package")
def digits():
    return load_digits().data[:200]


@pytest.fixture(scope="package")
def ray_server(cluster, tmp_path_factory):
    on = ("--engine", "ray", "--ray-address", cluster.address, "--ray-workers", "2")
    server = Server(tmp_path_factory.mktemp("server") / "data", *on).start()
    yield server
    assert server.stop() == 0
