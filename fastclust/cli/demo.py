"""``fastclust demo``: the main job, through a server of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fastclust.cli.output import displaying, say, tables
from fastclust.cli.remote import follow
from fastclust.cli.serve import check_installed
from fastclust.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastclust.client import Client, Dataset
    from fastclust.data import ImageSource

__all__ = ["demo", "server"]

_START = 60.0
_STOP = 15.0
_CLUSTERS = 10
_MEASURES = {"accuracy": "k-means accuracy", "nmi": "NMI", "recall_at_1": "recall@1"}

Data = Annotated[str, typer.Option(help="digits, fashion-mnist, or any folder of images.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the report, the map and all results.")]
Clusters = Annotated[int | None, typer.Option("--clusters", "-k", help="Clusters; by default as many as labels.")]
Storage = Annotated[Path | None, typer.Option(help="The server's folder; a temporary one if not given.")]


def demo(
    *,
    data: Data = "digits",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the report, the map and all results.")] = Path(
        "demo"
    ),
    clusters: Annotated[
        int | None, typer.Option("--clusters", "-k", help="Clusters; by default as many as labels.")
    ] = None,
    storage: Storage = None,
) -> None:
    """Start a server, upload images, run the pipeline through it, and leave report.html and map.png."""
    check_installed()
    started = time.monotonic()
    with displaying() as display:
        from fastclust.client import Client
        from fastclust.data import open_images

        images = open_images(data)
        known = images.labels
        wanted = clusters or (len(images.label_names or []) if known is not None else 0) or _CLUSTERS
        say(f"{data}: {len(images):,} images of {images.shape[1]}x{images.shape[0]} pixels, {wanted} clusters wanted")
        with server(storage) as address, Client(address) as client:
            say(f"server at {address}")
            uploaded, labels = _upload(client, images, Path(data).name, display)
            params: dict[str, Any] = {"n_clusters": wanted, "title": Path(data).name, "random_state": 0}
            if labels is not None:
                params["labels"] = labels
            job = client.pipeline(uploaded, **params)
            say(f"submitted {job.name}")
            follow(job, display)
            job.download(out)
    _show(out, time.monotonic() - started)


def _upload(client: Client, images: ImageSource, name: str, display: Any) -> tuple[Dataset, Dataset | None]:
    from fastclust import progress
    from fastclust.data import write_image_tar

    with tempfile.TemporaryDirectory(prefix="fastclust-") as folder, progress.listening(display.listen):
        # The archive says nothing of labels: they go apart, and only the scores see them.
        path = write_image_tar(images, Path(folder) / "images.tar")
        display.step("upload", 0.0, f"{path.stat().st_size / 1e6:.1f} MB")
        data = client.upload(path, name=name)
        display.step("upload", 1.0)
    labels = None if images.labels is None else client.upload_labels(images.labels, name=f"{name} labels")
    return data, labels


def _show(out: Path, seconds: float) -> None:
    from fastclust.artifacts import load_json

    quality, record = load_json(out / "quality.json"), load_json(out / "run.json")
    console = tables()
    if quality["rows"]:
        table = Table("", *_MEASURES.values(), title="Against labels that were never trained on", box=None)
        for row in quality["rows"]:
            table.add_row(row["features"], *(f"{row[name]:.3f}" for name in _MEASURES))
        console.print(table)
    table = Table("step", "seconds", title="Time", box=None)
    for step in record["steps"]:
        table.add_row(step["name"], "taken over" if step["reused"] else f"{step['seconds']:.1f}")
    table.add_row("all, with server and upload", f"{seconds:.1f}")
    console.print(table)
    say(f"wrote {out / 'report.html'} and {out / 'map.png'}")


@contextmanager
def server(storage: Path | None = None) -> Iterator[str]:
    """Run a server on its embedded defaults and a free loopback port: yields its address, and stops it in any case."""
    with tempfile.TemporaryDirectory(prefix="fastclust-") as folder:
        ready = Path(folder) / "address"
        log = Path(folder) / "server.log"
        data = storage or Path(folder) / "data"
        command = [sys.executable, "-m", "fastclust_server", "--listen", "127.0.0.1:0", "--data", str(data)]
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own module
                [*command, "--ready-file", str(ready)], stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            yield _wait_until_ready(process, ready, log)
        finally:
            _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], ready: Path, log: Path) -> str:
    until = time.monotonic() + _START
    while time.monotonic() < until:
        if ready.is_file() and (address := ready.read_text("utf-8").strip()):
            return address
        if process.poll() is not None:
            break
        time.sleep(0.05)
    last = "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-5:])
    raise UnavailableError(f"The server did not start (exit status {process.poll()}):\n{last}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask, then insist. The worker dies with its server."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
