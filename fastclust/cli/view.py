"""``fastclust view`` and ``fastclust compare``: what a run found, and what another one found otherwise."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastclust.cli.output import print_json, say
from fastclust.cli.run import Json
from fastclust.errors import NotFoundError, PreconditionError

if TYPE_CHECKING:
    from http import HTTPStatus

__all__ = ["compare", "view"]

#: What the pages of a run folder may ask for.
_SHOWN = ("report.html", "map.png", "compare.html")

Run = Annotated[Path, typer.Argument(help="Folder that fastclust run wrote.")]


def view(
    run: Run,
    *,
    port: Annotated[
        int | None, typer.Option(help="Serve the page on this port of 127.0.0.1 until Ctrl-C; 0 takes a free one.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open it in the browser.")] = True,
    json: Json = False,
) -> None:
    """Open the report of a run; it is written first where it is missing or older than the run.

    On a machine that you are logged in to from afar: --port 8000 --no-browser, and ssh -L 8000:127.0.0.1:8000.
    """
    page = _page(run)
    if port is None:
        if json:
            print_json({"report": str(page), "url": page.resolve().as_uri()})
        else:
            say(str(page))
        if browser:
            _open(page.resolve().as_uri())
        return
    handler = partial(_Pages, directory=str(run))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise PreconditionError(f"port {port} cannot be had ({error.strerror}). Take another, or 0 for any.") from error
    with server:
        url = f"http://127.0.0.1:{server.server_port}/report.html"
        if json:
            print_json({"report": str(page), "url": url})
        else:
            say(f"{url}  (Ctrl-C ends)")
        if browser:
            _open(url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("")


def compare(
    run: Run,
    other: Annotated[Path, typer.Argument(help="Folder of another run of the same rows.")],
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Page to write; OTHER/compare.html.")] = None,
    labels: Annotated[str | None, typer.Option(help="Labels to score both against: .npy or CSV id,label.")] = None,
    json: Json = False,
) -> None:
    """Put two runs of the same rows beside each other: figures, parameters, clusters and maps."""
    from fastclust.report import write_comparison

    for folder in (run, other):
        _check_run(folder)
    target = out or other / "compare.html"
    found = write_comparison(run, other, target, labels=labels)
    if json:
        print_json({"out": str(target), **found._asdict()})
        return
    say(f"{'':<22} {'first':>7} {'second':>7}")
    for name, (before, after) in found.measures.items():
        shown = ["-" if value is None else f"{value:.3f}" for value in (before, after)]
        change = "" if before is None or after is None else f"  {after - before:+.3f}"
        say(f"{name:<22} {shown[0]:>7} {shown[1]:>7}{change}")
    say(f"wrote {target}")


def _check_run(folder: Path) -> None:
    """Raise NotFoundError, with what to do, where no run is."""
    if not (folder / "run.json").is_file():
        raise NotFoundError(f"{folder}: no run here (no run.json). Run: fastclust run SOURCE -o {folder}")


def _page(run: Path) -> Path:
    from fastclust.report import write_report

    _check_run(run)
    page = run / "report.html"
    parts = [
        path for name in ("map.npy", "labels.npy", "insight.json", "quality.json") if (path := run / name).is_file()
    ]
    if not page.is_file() or any(path.stat().st_mtime > page.stat().st_mtime for path in parts):
        write_report(run)
    return page


def _open(url: str) -> None:
    import webbrowser

    if not webbrowser.open(url):
        say("No browser was found here. Open the address yourself, or see --port in fastclust view --help.")


class _Pages(SimpleHTTPRequestHandler):
    """Hands out the pages of a run folder and nothing else of it."""

    def send_head(self) -> Any:
        """Answer with a page, or 404; and only those who asked for this machine by one of its own names."""
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if self.path.lstrip("/").split("?")[0] not in _SHOWN or host not in ("127.0.0.1", "localhost"):
            self.send_error(404)
            return None
        return super().send_head()

    def log_request(self, code: int | HTTPStatus | str = "-", size: int | str = "-") -> None:
        """Say nothing of what was asked for."""
