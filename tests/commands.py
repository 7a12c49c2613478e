"""Whether a line that a document tells people to type names verbs and options that exist."""

from __future__ import annotations

import shlex

import typer

from fastclust.cli.main import app


def unknown_options(line):
    """Return what the ``fastclust`` line uses and its verbs do not know; raise KeyError for an unknown verb."""
    first, *rest = [part.split("#")[0].strip() for part in line.removeprefix("fastclust ").split("|")]
    words = shlex.split(first)
    others = [part.split()[0] for part in rest]
    # "a | b | c  SOURCE -o OUT": verbs, with the arguments of all behind the last.
    arguments = shlex.split(rest[-1])[1:] if rest else words[1:]
    unknown = set()
    for verb in [words[0], *others]:
        command, given = typer.main.get_command(app).commands[verb], arguments
        if hasattr(command, "commands"):
            command, given = command.commands[given[0]], given[1:]
        known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        if verb == "serve":
            from fastclust_server.config import Settings

            known |= {f"--{name.replace('_', '-')}" for name in Settings.__slots__}
        unknown |= {word.split("=")[0] for word in given if word.startswith("-")} - known
    return unknown
