"""Checks of what a job's spec names, before the job is accepted: it exists, is the caller's, and has the right form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import wire
from fastclust.errors import InputError, InputTypeError, PreconditionError
from fastclust.v1 import common_pb2
from fastclust_server import names
from fastclust_server.jobs.records import SUCCEEDED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

    from fastclust.v1 import spec_pb2
    from fastclust_server.config import Settings
    from fastclust_server.jobs.records import JobRecord
    from fastclust_server.jobs.store import JobStore
    from fastclust_server.storage.catalog import Catalog, DatasetRecord

__all__ = ["FLOATS", "Inputs", "check_encoder", "check_integer", "check_limits", "check_number", "chosen"]

FLOATS = ("float32", "float64")


class Inputs:
    """Looks names up within one owner, and remembers what was used."""

    def __init__(self, owner: str, store: JobStore, catalog: Catalog, settings: Settings) -> None:
        self.settings = settings
        self._owner = owner
        self._store = store
        self._catalog = catalog
        #: Names that the job reads.
        self.used: list[str] = []

    def dataset(self, field: str, name: str, *kinds: common_pb2.DatasetKind.ValueType) -> DatasetRecord:
        """Return a data set of one of ``kinds``."""
        if not name:
            raise InputError(field, "nothing", 'a data set, "datasets/{id}"')
        record = self._catalog.get_dataset(self._owner, names.parse(name, "datasets", field))
        if record.kind not in kinds:
            came = common_pb2.DatasetKind.Name(common_pb2.DatasetKind.ValueType(record.kind))
            allowed = " or ".join(common_pb2.DatasetKind.Name(kind) for kind in kinds)
            raise InputError(field, f"a data set of kind {came}", allowed)
        self.used.append(record.name)
        return record

    def tensor(
        self, field: str, name: str, dims: Sequence[int] = (2,), dtypes: Sequence[str] = FLOATS
    ) -> tuple[int, ...]:
        """Return the shape of a TENSOR data set with one of these dtypes and numbers of dimensions."""
        spec = self.dataset(field, name, common_pb2.DATASET_KIND_TENSOR).tensor
        came = wire.dtype_of(spec, field).name
        if came not in dtypes:
            fix = "Convert the rows before the upload, for example with .astype('float32')."
            raise InputTypeError(field, f"dtype {came}", ", ".join(dtypes), fix)
        shape = tuple(spec.shape)
        if len(shape) not in dims:
            allowed = " or ".join(f"{count} dimensions" for count in dims)
            raise InputError(field, f"shape {list(shape)}", allowed)
        return shape

    def exactly(self, field: str, name: str, shape: tuple[int, ...], why: str) -> None:
        """Check that a TENSOR data set has the shape ``shape``."""
        came = self.tensor(field, name, (len(shape),))
        if came != shape:
            raise InputError(field, f"shape {list(came)}", f"{list(shape)}, {why}")

    def labels(self, field: str, name: str, rows: int) -> None:
        """Check a LABELS data set, or an integer TENSOR, for ``rows`` rows."""
        kinds = (common_pb2.DATASET_KIND_LABELS, common_pb2.DATASET_KIND_TENSOR)
        record = self.dataset(field, name, *kinds)
        if record.kind == common_pb2.DATASET_KIND_TENSOR:
            dtype = wire.dtype_of(record.tensor, field)
            if dtype.kind not in "iu" or len(record.tensor.shape) != 1:
                raise InputTypeError(field, f"{dtype.name} {list(record.tensor.shape)}", "integers [n]")
        if not record.file.endswith(".csv") and record.row_count != rows:
            raise InputError(field, f"{record.row_count} labels", f"{rows}, one for each row")

    def is_csv(self, name: str) -> bool:
        """Whether labels came as a CSV, by id."""
        return self._catalog.get_dataset(self._owner, names.parse(name, "datasets")).file.endswith(".csv")

    def job(self, field: str, name: str, *kinds: str) -> JobRecord:
        """Return a job of one of ``kinds`` that succeeded."""
        if not name:
            raise InputError(field, "nothing", f'a finished {" or ".join(kinds)} job, "jobs/{{id}}"')
        record = self._store.get(self._owner, names.parse(name, "jobs", field))
        if record.kind not in kinds:
            raise InputError(field, f"a {record.kind} job", f"a {' or '.join(kinds)} job")
        if record.state != SUCCEEDED:
            raise PreconditionError(f"{field}: {record.name} has not succeeded, so it has no result to go on from.")
        self.used.append(record.name)
        return record

    def has_artifact(self, job: JobRecord, key: str) -> bool:
        """Whether a job left an artifact with this key."""
        return any(record.key == key for record in self._store.artifacts(job.id))

    def job_tensor(self, job: JobRecord, key: str) -> tuple[int, ...]:
        """Return the shape of an artifact of a job; empty where it has none with this key."""
        for record in self._store.artifacts(job.id):
            if record.key == key:
                return tuple(common_pb2.TensorSpec.FromString(record.tensor).shape)
        return ()

    def metric(self, metric: spec_pb2.MetricSpec, columns: int) -> None:
        """Check a metric for rows of ``columns`` numbers."""
        if metric.WhichOneof("kind") != "model":
            return
        shape = self.job_tensor(self.job("metric", metric.model, "mahalanobis"), "mahalanobis_matrix")
        if not shape:
            raise InputError("metric", "a mahalanobis job that fitted no metric", "one with another output")
        if shape != (columns, columns):
            raise InputError("metric", f"a metric of {shape[0]} columns", f"{columns}, the columns of the data set")


def chosen(spec: Message, *fields: str, **renamed: str) -> dict[str, Any]:
    """Return the optional fields that are set, as arguments; ``argument="field"`` where the names differ.

    What is not set is left to the library's defaults.
    """
    found = {field: getattr(spec, field) for field in fields if spec.HasField(field)}
    return found | {argument: getattr(spec, field) for argument, field in renamed.items() if spec.HasField(field)}


def check_integer(spec: Message, field: str, least: int, most: int | None = None, why: str = "") -> None:
    """Check an optional integer field, if it is set."""
    if not spec.HasField(field):
        return
    value = getattr(spec, field)
    if value < least or (most is not None and value > most):
        allowed = f"an integer of at least {least}" if most is None else f"{least}..{most}{why and f', {why}'}"
        raise InputError(field, value, allowed)


def check_number(spec: Message, field: str, above: float, *, equal: bool = False) -> None:
    """Check an optional number field, if it is set: finite, and above ``above`` (or equal to it)."""
    if not spec.HasField(field):
        return
    value = getattr(spec, field)
    if not np.isfinite(value) or value < above or (value == above and not equal):
        raise InputError(field, f"{value:g}", f"a finite number {'of at least' if equal else 'above'} {above:g}")


def check_limits(limits: spec_pb2.JobLimits, settings: Settings) -> None:
    """Check what a job may take: within what the server lets any job take."""
    if limits.HasField("memory_bytes"):
        most = settings.job_memory or 2**62
        if not 2**20 <= limits.memory_bytes <= most:
            raise InputError("limits.memory_bytes", limits.memory_bytes, f"{2**20}..{most} bytes")
    if limits.HasField("run_time"):
        seconds, longest = limits.run_time.ToMilliseconds() / 1000, settings.job_seconds or 1e9
        if not 0 < seconds <= longest:
            raise InputError("limits.run_time", f"{seconds:g} s", f"more than 0, at most {longest:g} s")


def check_encoder(spec: Message, settings: Settings) -> None:
    """Refuse an encoder that this server does not allow: its weights could come from anywhere."""
    encoder = getattr(spec, "encoder", "")
    if ":" in encoder and encoder not in settings.encoders:
        allowed = ", ".join(["those that come with fastclust", *settings.encoders])
        raise InputError("encoder", repr(encoder[:100]), allowed, "The server's operator can allow more.")
