"""Jobs on a server, from the command line: follow them, and what Ctrl-C means."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fastclust.cli.output import Display, console, displaying, say
from fastclust.cli.timeleft import clock
from fastclust.errors import NotFoundError, OperationCancelledError
from fastclust_kernels.notices import COMPILING

if TYPE_CHECKING:
    from pathlib import Path

    from fastclust.client import Client, Dataset, Job, Result

__all__ = ["ADDRESS", "at", "connect", "finish", "follow", "send"]

#: Where ``fastclust jobs`` looks unless told otherwise.
ADDRESS = "localhost:50051"

_SECRETS = {
    "root_certificates": "FASTCLUST_ROOT_CERTIFICATES",
    "certificate_chain": "FASTCLUST_CERTIFICATE",
    "private_key": "FASTCLUST_PRIVATE_KEY",
}


def connect(address: str) -> Client:
    """Return a client with what the environment holds: ``FASTCLUST_TOKEN``, and PEM files for TLS by their paths.

    Secrets are no flags: everybody on a machine can read those. Raises NotFoundError for a file that is not there.
    """
    from pathlib import Path

    from fastclust.client import Client

    given: dict[str, Any] = {}
    for option, variable in _SECRETS.items():
        if name := os.environ.get(variable):
            try:
                given[option] = Path(name).read_bytes()
            except OSError as error:
                raise NotFoundError(f"{variable}: {name} cannot be read ({error.strerror}).") from error
    return Client(address, token=os.environ.get("FASTCLUST_TOKEN"), told=say, **given)


def send(client: Client, source: str, labels: str | None = None) -> tuple[Dataset, Dataset | None]:
    """Upload a source as the command line names it: a file, a folder, a tar, or a data set by name."""
    import tempfile
    from pathlib import Path

    from fastclust.data import open_images, write_image_tar, write_labels
    from fastclust.data.builtin import NAMES
    from fastclust.data.parquet_images import holds_images

    known = None
    if source in NAMES or holds_images(source):
        images, name = open_images(source), Path(source).stem
        with tempfile.TemporaryDirectory(prefix="fastclust-") as folder:
            data = client.upload(write_image_tar(images, Path(folder) / "images.tar"), name=name)
            if labels is None and images.labels is not None:
                file = write_labels(images, Path(folder) / "labels.csv")
                known = client.upload_labels(file, name=f"{name} labels")
    else:
        data = client.upload(source)
    if labels is not None:
        known = client.upload_labels(labels)
    return data, known


def follow(job: Job, display: Display) -> None:
    """Show a job's progress until it has ended."""
    attempt = 1
    for place, state in enumerate(job.watch()):
        if place == 0 and not state.ended:
            # Whoever lets go of it needs its name; and a job that waits shows no step.
            display.notice(f"{job.name}: {state.state}")
        if state.attempt > attempt and not state.ended:
            attempt = state.attempt
            display.notice(f"attempt {attempt}: what is on disk of the one before is taken over")
        message = state.message
        if COMPILING in message:
            display.notice(COMPILING)
            message = ""
        under_way = state.step if state.step and not state.ended else ""
        for step in state.steps:
            # The one under way is shown once, below: a log takes one line of it every few seconds, with what is left.
            if step.name != under_way:
                display.step(step.name, step.fraction, "taken over" if step.reused else "")
        if under_way:
            now = next((step for step in state.steps if step.name == state.step), None)
            if now is not None and now.seconds_left is not None:
                message = ", ".join(filter(None, (message, f"{clock(now.seconds_left)} left of it")))
            display.step(state.step, state.fraction if now is None else now.fraction, message)


def finish(job: Job, out: Path, *, quiet: bool) -> tuple[Result, list[Path]]:
    """Follow a job and write its results. Ctrl-C asks, on a terminal, whether to leave the job running."""
    try:
        with displaying(quiet=quiet) as display:
            follow(job, display)
    except KeyboardInterrupt:
        stop = console.is_terminal and _asked_to_cancel(job)
        if stop:
            job.cancel()
            raise OperationCancelledError(f"{job.name} is being cancelled.") from None
        raise OperationCancelledError(
            f"{job.name} goes on. Its results: fastclust jobs download {at(job)} -o {out}"
        ) from None
    result = job.result()
    return result, result.save(out)


def at(job: Job) -> str:
    """A job's name, and the server where it has to be named too, as the verbs of ``fastclust jobs`` take them."""
    return job.name if job.address == ADDRESS else f"{job.name} --server {job.address}"


def _asked_to_cancel(job: Job) -> bool:
    """Ask; a second Ctrl-C, and the end of what can be read, mean no."""
    try:
        answer: Any = console.input(f"{job.name} runs on the server. Cancel it? [y/N] ", markup=False)
    except (KeyboardInterrupt, EOFError):
        say("")
        return False
    return str(answer).strip().lower().startswith("y")
