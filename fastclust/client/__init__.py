"""The gRPC client. Light: it imports numpy and grpc, and nothing that computes.

>>> from fastclust.client import Client
>>> with Client("localhost:50051") as client:
...     data = client.upload(X, name="faces")
...     labels = client.kmeans(data, n_clusters=100).result(timeout=60).labels
"""

from fastclust.client.asynchronous import AsyncClient
from fastclust.client.handles import Dataset, Job, JobStatus, Step
from fastclust.client.results import Result
from fastclust.client.synchronous import Client

__all__ = ["AsyncClient", "Client", "Dataset", "Job", "JobStatus", "Result", "Step"]
