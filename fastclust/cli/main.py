"""The ``fastclust`` command: its verbs, and how errors end it."""

from __future__ import annotations

import sys
import warnings

import typer

from fastclust import __version__
from fastclust.cli import demo, doctor, estimators, insight, jobs, kmeans, run, serve, view
from fastclust.cli.output import say
from fastclust.errors import DataError, FastclustError, InputError, InputTypeError, OperationCancelledError

__all__ = ["app", "main"]

app = typer.Typer(
    name="fastclust",
    help="A learned metric, neighbours, clusters and a map for large unlabelled collections.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("view")(view.view)
app.command("compare")(view.compare)
app.command("kmeans")(kmeans.kmeans)
app.command("neighbors")(estimators.neighbors)
app.command("tsne")(estimators.tsne)
app.command("mahalanobis")(estimators.mahalanobis)
app.command("train")(estimators.train)
app.command("embed")(estimators.embed)
app.command("choose-k")(insight.choose_k)
app.command("propagate-labels")(insight.propagate_labels)
# What serve does not know itself is the server's to read.
app.command("serve", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(serve.serve)
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)
app.add_typer(jobs.app, name="jobs")

_VERSION = typer.Option(default=False, help="Print the version and stop.")


@app.callback(invoke_without_command=True)
def _top(*, version: bool = _VERSION) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command. Ends with 0; 2 for bad input; 130 for Ctrl-C; 1 for everything else that went wrong."""
    # A sentence, not the line of code that it came from.
    warnings.showwarning = lambda message, *_: say(f"warning: {message}")
    try:
        app()
    except (InputError, InputTypeError, DataError) as error:
        say(f"error: {error}")
        sys.exit(2)
    except OperationCancelledError as error:
        say(f"stopped: {error}")
        sys.exit(130)
    except FastclustError as error:
        say(f"error: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        say("stopped")
        sys.exit(130)
