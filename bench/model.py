"""What a benchmark is, as data: a case has problems, a problem has contenders and a gate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["OURS", "AbsentError", "Case", "Contender", "Curve", "Problem", "Target", "Verdict"]

OURS = "fastclust"


class AbsentError(Exception):
    """Raised in ``prepare`` by a peer that cannot take part here, with the reason."""


@dataclass(frozen=True)
class Verdict:
    """Whether a result is right, and by how much."""

    passed: bool
    #: The figure that decided, such as "relative error 3e-7 (at most 2e-6)".
    detail: str


@dataclass(frozen=True)
class Contender:
    """One way to solve a problem: ours or a peer's."""

    name: str
    #: Takes the problem's data and returns what is timed: a call without arguments whose result the gate judges.
    prepare: Callable[[Any], Callable[[], Any]]
    #: Distributions that must be installed, as pip names them; an absent one is reported.
    needs: tuple[str, ...] = ()
    #: Said beside the figure, such as "probabilistic: not exact".
    remark: str = ""
    #: Called before each run and not timed: takes away what the last one left.
    before: Callable[[], object] | None = None
    #: How many such calls the whole would take, where it is extrapolated; the times given are those of the whole.
    times: float = 1.0


@dataclass(frozen=True)
class Target:
    """A promise of the design: a ratio to a peer, a share of a ceiling, or a figure of the result."""

    what: str
    #: At least (or, with ``at_most``, at most) this much.
    value: float
    #: "a|b": the slower of these.
    peer: str = ""
    #: In place of one peer: the fastest of these that passed the gate.
    peers: tuple[str, ...] = ()
    #: Of several peers, compare with the slowest and not the quickest.
    slowest: bool = False
    ceiling: str = ""
    figure: str = ""
    at_most: bool = False


@dataclass(frozen=True)
class Problem:
    """One size on one data set."""

    #: Unique within the case, such as "fashion-mnist 60000x784 k=256".
    name: str
    data: Callable[[], Any]
    contenders: Sequence[Contender]
    #: Judges a result of any contender: ``gate(data, result)``.
    gate: Callable[[Any, Any], Verdict]
    #: Floating-point operations of one run, for the share of a ceiling; 0 where it has no meaning.
    flops: float = 0.0
    #: Bytes moved in one run, in the same way.
    bytes: float = 0.0
    #: Calls answered in one run, in the same way.
    calls: float = 0.0
    #: Names of ceilings in :mod:`bench.ceilings`, with their arguments.
    ceilings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: Further figures of a result, such as inertia or recall: ``figures(data, result)``.
    figures: Callable[[Any, Any], dict[str, float]] | None = None
    targets: Sequence[Target] = ()
    #: At most so many timings a contender; a slow one gets fewer, see ``seconds``.
    rounds: int = 5
    #: About how long one contender may take in all; one run is timed in any case.
    seconds: float = 30.0
    #: For what takes minutes: each contender runs once, in its order, and that run is judged, timed and its memory
    #: taken. What must be compiled is compiled in ``prepare``.
    once: bool = False


@dataclass(frozen=True)
class Curve:
    """How time and memory grow when one size grows."""

    name: str
    #: "n", "d" or "k"
    variable: str
    values: Sequence[int]
    problem: Callable[[int], Problem]


@dataclass(frozen=True)
class Case:
    """A group of problems, such as "kmeans-cpu"."""

    name: str
    summary: str
    #: By size, "small" or "full".
    problems: Callable[[str], Sequence[Problem]]
    curves: Callable[[str], Sequence[Curve]] = lambda _size: ()
    #: Called when the case has ended, in whatever way: stops what it started.
    finish: Callable[[], None] = lambda: None
