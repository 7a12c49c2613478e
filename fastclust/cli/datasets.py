"""``fastclust datasets``: what was uploaded to a server, which stays there until it is deleted."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from fastclust.cli.jobs import Json, Server
from fastclust.cli.options import Verbs
from fastclust.cli.output import print_json, say, tables
from fastclust.cli.remote import ADDRESS, connect

__all__ = ["app"]

app = typer.Typer(cls=Verbs, help="Data sets on a server: ls, delete.", no_args_is_help=True)

_PREFIX = "datasets/"


@app.command("ls")
def ls(*, server: Server = ADDRESS, json: Json = False) -> None:
    """List data sets, newest first."""
    with connect(server) as client:
        found = client.datasets()
    if json:
        print_json({"datasets": [asdict(data) for data in found]})
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("data set", no_wrap=True, min_width=len(_PREFIX) + 32)
    table.add_column("called", overflow="fold")
    for title in ("rows", "bytes"):
        table.add_column(title, no_wrap=True, justify="right")
    for data in found:
        table.add_row(data.name, data.display_name, f"{data.n_rows:,}", f"{data.n_bytes:,}")
    tables().print(table)


@app.command("delete")
def delete(
    names: Annotated[list[str], typer.Argument(help='"datasets/..."; the part after the slash is enough.')],
    *,
    server: Server = ADDRESS,
    json: Json = False,
) -> None:
    """Remove data sets that no unfinished job reads."""
    full = [name if name.startswith(_PREFIX) else _PREFIX + name for name in names]
    with connect(server) as client:
        for name in full:
            client.delete_dataset(name)
            if not json:
                say(f"{name}: deleted")
    if json:
        print_json({"deleted": full})
