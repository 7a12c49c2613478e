"""``fastclust jobs``: what is on a server."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from fastclust.cli.options import Verbs
from fastclust.cli.output import displaying, print_json, say, tables
from fastclust.cli.remote import ADDRESS, at, connect, finish, follow
from fastclust.cli.run import Out
from fastclust.cli.verbs import tell
from fastclust.client import JobStatus
from fastclust.errors import OperationCancelledError

__all__ = ["app"]

app = typer.Typer(cls=Verbs, help="Jobs on a server: ls, show, watch, download, cancel, delete.", no_args_is_help=True)

Server = Annotated[str, typer.Option("--server", envvar="FASTCLUST_SERVER", help="host:port of the server.")]
Name = Annotated[str, typer.Argument(help='"jobs/..."; the part after the slash is enough.')]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("ls")
def ls(*, server: Server = ADDRESS, json: Json = False) -> None:
    """List jobs, newest first."""
    with connect(server) as client:
        found = client.jobs()
    if json:
        print_json({"jobs": [_plain(state) for state in found]})
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    # A name is there to be copied: it is never cut. Where 80 columns do not do, the kind is folded.
    table.add_column("job", no_wrap=True, min_width=len("jobs/") + 32)
    table.add_column("kind", overflow="fold")
    for title in ("state", "done", "try", "created"):
        table.add_column(title, no_wrap=True)
    for state in found:
        created = datetime.fromtimestamp(state.created, UTC).strftime("%m-%d %H:%M")
        table.add_row(state.name, state.kind, state.state, f"{state.fraction:.0%}", str(state.attempt), created)
    tables().print(table)


@app.command("show")
def show(name: Name, *, server: Server = ADDRESS, json: Json = False) -> None:
    """Show one job."""
    with connect(server) as client:
        state = client.job(_full(name)).progress()
    if json:
        print_json(_plain(state))
        return
    for key, value in _plain(state).items():
        typer.echo(f"{key}: {value}")


@app.command("watch")
def watch(name: Name, *, server: Server = ADDRESS, json: Json = False) -> None:
    """Follow one job until it has ended; Ctrl-C leaves it running. Ends with 1 unless the job succeeded."""
    with connect(server) as client:
        job = client.job(_full(name))
        try:
            with displaying(quiet=json) as display:
                follow(job, display)
        except KeyboardInterrupt:
            raise OperationCancelledError(f"{job.name} goes on. Again: fastclust jobs watch {at(job)}") from None
        state = job.progress()
    if json:
        print_json(_plain(state))
    else:
        say(f"{job.name}: {state.state}")
    if state.state != "succeeded":
        raise typer.Exit(1)


@app.command("download")
def download(name: Name, out: Out, *, server: Server = ADDRESS, json: Json = False) -> None:
    """Follow one job until it has ended and write its results; Ctrl-C as at the verb that submitted it."""
    with connect(server) as client:
        result, paths = finish(client.job(_full(name)), out, quiet=json)
    tell(out, json, {**result.metrics, **result.notes}, [path.name for path in paths])


@app.command("cancel")
def cancel(name: Name, *, server: Server = ADDRESS, json: Json = False) -> None:
    """Ask one job to stop."""
    with connect(server) as client:
        job = client.job(_full(name))
        over = job.progress().ended
        job.cancel()
        state = job.progress()
    if json:
        print_json(_plain(state))
    else:
        say(f"{job.name}: {state.state} already" if over else f"{job.name}: asked to stop")


@app.command("delete")
def delete(
    names: Annotated[list[str], typer.Argument(help='"jobs/..."; the part after the slash is enough.')],
    *,
    server: Server = ADDRESS,
    json: Json = False,
) -> None:
    """Remove jobs that have ended, and their results."""
    full = [_full(name) for name in names]
    with connect(server) as client:
        for name in full:
            client.job(name).delete()
            if not json:
                say(f"{name}: deleted")
    if json:
        print_json({"deleted": full})


def _full(name: str) -> str:
    return name if name.startswith("jobs/") else f"jobs/{name}"


def _plain(state: JobStatus) -> dict[str, Any]:
    return asdict(state)
