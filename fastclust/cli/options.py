"""Options that stand on either side of the verb."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

__all__ = ["Verbs"]

_FLAGS, _WITH_VALUE = ("--json",), ("--server",)


class Verbs(TyperGroup):
    """Verbs whose common options may come before them: ``fastclust --json run ...`` is ``fastclust run --json ...``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the verb."""
        return super().parse_args(ctx, _behind_the_verb(args))


def _behind_the_verb(args: list[str]) -> list[str]:
    moved, rest = [], list(args)
    while rest:
        if rest[0] in _FLAGS or rest[0].startswith(tuple(f"{name}=" for name in _WITH_VALUE)):
            count = 1
        elif rest[0] in _WITH_VALUE:
            count = 2
        else:
            break
        moved += rest[:count]
        del rest[:count]
    return [rest[0], *moved, *rest[1:]] if rest and not rest[0].startswith("-") else rest
