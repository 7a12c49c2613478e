"""Clients that know the protos only: a Node script, and buf curl through reflection."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A folder with the script and its packages."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    for name in ("client.mjs", "package.json", "package-lock.json"):
        shutil.copy(ROOT / "tests" / "node" / name, folder)
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_node_client_uploads_clusters_and_downloads(server, node):
    command = ["node", "client.mjs", server.address, str(ROOT / "proto")]
    done = subprocess.run(command, cwd=node, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["rows"], told["state"], told["refused"]) == (200, "JOB_STATE_SUCCEEDED", "NOT_FOUND")
    assert len({frozenset(told["labels"][place::4]) for place in range(4)}) == 4  # one cluster a group
    assert told["online"] == told["labels"][:4]


def buf_curl(server, method, request):
    """The exit status and what was said."""
    buf = pathlib.Path(sys.executable).with_name("buf")
    command = [str(buf), "curl", "--http2-prior-knowledge", "--protocol", "grpc", "--data", json.dumps(request)]
    done = subprocess.run(
        [*command, f"http://{server.address}/fastclust.v1.{method}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


NOWHERE = "0" * 32
#: Every method, with a request that reaches it and what it answers then.
METHODS = {
    "DatasetService/CreateUpload": ({"kind": "DATASET_KIND_TENSOR"}, "invalid_argument"),
    "DatasetService/Upload": ({"name": f"uploads/{NOWHERE}"}, "not_found"),
    "DatasetService/GetUpload": ({"name": f"uploads/{NOWHERE}"}, "not_found"),
    "DatasetService/FinishUpload": ({"name": f"uploads/{NOWHERE}"}, "not_found"),
    "DatasetService/DeleteUpload": ({"name": f"uploads/{NOWHERE}"}, "not_found"),
    "DatasetService/ImportDataset": ({"uri": "file:///x.npy", "kind": "DATASET_KIND_TENSOR"}, "permission_denied"),
    "DatasetService/GetDataset": ({"name": f"datasets/{NOWHERE}"}, "not_found"),
    "DatasetService/ListDatasets": ({"pageSize": -1}, "invalid_argument"),
    "DatasetService/DeleteDataset": ({"name": f"datasets/{NOWHERE}"}, "not_found"),
    "JobService/CreateJob": ({}, "invalid_argument"),
    "JobService/GetJob": ({"name": f"jobs/{NOWHERE}"}, "not_found"),
    "JobService/ListJobs": ({"pageSize": 1, "kinds": ["none"]}, "{}"),
    "JobService/CancelJob": ({"name": f"jobs/{NOWHERE}"}, "not_found"),
    "JobService/DeleteJob": ({"name": f"jobs/{NOWHERE}"}, "not_found"),
    "JobService/WatchJob": ({"name": f"jobs/{NOWHERE}"}, "not_found"),
    "ArtifactService/ListArtifacts": ({"parent": f"jobs/{NOWHERE}"}, "not_found"),
    "ArtifactService/ReadArtifact": ({"name": f"jobs/{NOWHERE}/artifacts/x"}, "not_found"),
    "OnlineService/Assign": ({"model": f"jobs/{NOWHERE}"}, "not_found"),
    "OnlineService/Search": ({"model": f"jobs/{NOWHERE}"}, "not_found"),
    "OnlineService/Embed": ({"model": f"jobs/{NOWHERE}"}, "not_found"),
    "OnlineService/Mahalanobis": ({"model": f"jobs/{NOWHERE}"}, "not_found"),
}


def test_the_list_of_methods_is_whole():
    from fastclust.v1 import artifact_pb2, dataset_pb2, job_pb2, online_pb2

    known = {
        f"{service.name}/{method.name}"
        for module in (artifact_pb2, dataset_pb2, job_pb2, online_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert known == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_buf_curl_reaches_every_method_through_reflection(server, method):
    request, answer = METHODS[method]
    status, said = buf_curl(server, method, request)
    assert answer in said, (status, said)
