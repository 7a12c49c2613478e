"""The ``fastclust`` command: its verbs, and how errors end it."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, Any, NoReturn

import typer

from fastclust import __version__
from fastclust.cli import datasets, demo, doctor, estimators, insight, jobs, kmeans, run, serve, view
from fastclust.cli.options import Verbs
from fastclust.cli.output import print_json, say
from fastclust.errors import (
    DataError,
    FastclustError,
    InputError,
    InputTypeError,
    NotFoundError,
    OperationCancelledError,
)

__all__ = ["app", "main"]

#: What typer raises for a command line that it cannot read; the class has no public name there.
_USAGE: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="fastclust",
    cls=Verbs,
    help="A learned metric, neighbours, clusters and a map for large unlabelled collections. --json and --server may "
    "stand before the verb too.",
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
app.add_typer(datasets.app, name="datasets")


@app.callback(invoke_without_command=True)
def _top(*, version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command. Ends with 0; 2 for bad input; 130 for Ctrl-C; 1 for everything else that went wrong.

    Bad input is an argument, a file or a name. With ``--json`` an error is an object on standard output too.
    """
    warnings.showwarning = _warn  # type: ignore[assignment]
    try:
        status = app(prog_name="fastclust", standalone_mode=False)
    except _USAGE as error:
        _misused(error)
    except (InputError, InputTypeError, DataError, NotFoundError) as error:
        _fail(error.reason, str(error), 2)
    except OperationCancelledError as error:
        say(f"stopped: {error}")
        sys.exit(130)
    except FastclustError as error:
        _fail(error.reason, str(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        say("stopped")
        sys.exit(130)
    if status == 130:
        say("stopped")
    sys.exit(status if isinstance(status, int) else 0)


def _misused(error: Any) -> NoReturn:
    """End after options or arguments that no verb has, or that it lacks."""
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.exit(error.exit_code)  # help was printed
    context = getattr(error, "ctx", None)
    see = "" if context is None else f" See: {context.command_path} --help"
    _fail(InputError.reason, f"{error.format_message().rstrip('.')}.{see}", 2)


def _fail(reason: str, message: str, status: int) -> NoReturn:
    say(f"error: {message}")
    if "--json" in sys.argv:
        print_json({"error": {"reason": reason, "message": message}})
    sys.exit(status)


def _warn(message: Warning | str, *_where: object) -> None:
    """Say what a warning says, without the line of code it comes from."""
    say(f"warning: {message}")
