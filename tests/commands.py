"""Whether a line that a document tells people to type names verbs and options that exist, and all that are needed."""

from __future__ import annotations

import shlex

import typer

from fastclust.cli.main import app


def unknown_options(line):
    """Return what the ``fastclust`` line uses and its verb does not know, and what the verb needs and the line lacks.

    Raises KeyError for an unknown verb.
    """
    verb, *given = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(app).commands[verb]
    if hasattr(command, "commands"):
        command, given = command.commands[given[0]], given[1:]
    options = {flag: one for one in command.params for flag in (*one.opts, *one.secondary_opts)}
    known = set(options)
    if verb == "serve":
        from fastclust_server.config import Settings

        known |= {f"--{name.replace('_', '-')}" for name in Settings.__slots__}
    used = {word.split("=")[0] for word in given if word.startswith("-")}
    needed = {one.opts[0] for flag, one in options.items() if one.required and flag.startswith("-")}
    missing = needed - {options[flag].opts[0] for flag in used & set(options)}
    return (used - known) | missing
