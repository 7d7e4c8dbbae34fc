"""Every method for tokens: what it needs, what it costs, what it is, and which is the default.

One line per method, like ``sfumato.inverse.registry``. Nothing here imports torch until a method is
made. Costs are network evaluations per step and sample.
"""

# ruff: noqa: E501 - a table, one method per line

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from sfumato.errors import UnsupportedError
from sfumato.inverse.registry import EXACT, MODE, check, load, named

if TYPE_CHECKING:
    from sfumato.inverse.tokens.problems import TokenProblem, TokenSolver

__all__ = [
    "TABLE",
    "Explanation",
    "Method",
    "Row",
    "applicable",
    "auto",
    "choose",
    "explain",
    "make",
    "require",
]

BIASED = "biased"
KIND = "solver of tokens"


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Args:
        part: ``"module:Class"`` below ``sfumato.inverse``.
        kind: ``"exact in the limit"`` (of particles, rounds or steps), ``"biased"``, or
            ``"MAP-like"`` (likely states, not a sample of them).
        needs: Names from ``sfumato.inverse.tokens.capabilities``.
        cost: Network evaluations per step.
        steps: Steps unless told otherwise; ``None`` is one for each unknown place.
        sweeps: How often the steps are gone through.
        summary: One line.
    """

    part: str
    kind: str
    needs: tuple[str, ...]
    cost: int
    steps: int | None
    sweeps: int
    summary: str

    def evaluations(self, places: int) -> int:
        """Network evaluations of a run with the default settings, at most."""
        return self.cost * self.sweeps * (places if self.steps is None else self.steps)


TABLE: dict[str, Method] = {
    "lattice": Method("tokens.lattice:Lattice", EXACT, ("sequential", "unweighted"), 0, 1, 1, "all texts at once, by their histories; marginals, evidence and samples"),
    "advised": Method("tokens.advised:Advised", BIASED, ("absorbing", "advised", "unweighted"), 700, 1, 1, "the chain's lattice, its draws or marginals weighed by the other experts"),
    "clamp": Method("tokens.clamp:Clamp", EXACT, ("absorbing", "given", "memoryless", "unweighted"), 1, None, 1, "known tokens held, gaps filled one place at a time; nothing is approximated"),
    "channel-start": Method("tokens.channel_start:ChannelStart", EXACT, ("memoryless", "unweighted", "channel"), 1, 64, 1, "y is a state of the process; its reverse chain from there"),
    "twisted": Method("tokens.twisted:TwistedSMC", EXACT, ("absorbing",), 64, None, 1, "particles that look ahead through the beliefs; weights and evidence"),
    "split-gibbs": Method("tokens.split_gibbs:SplitGibbs", EXACT, (), 8, 60, 1, "noise, reverse chain and evidence in turns; any process"),
    "gibbs": Method("tokens.gibbs:Gibbs", EXACT, (), 1, None, 50, "one place after the other given all others; a corrector"),
    "importance": Method("tokens.importance:Importance", EXACT, (), 256, None, 1, "weighted samples of the prior, or the best of them; for short gaps"),
    "tilted": Method("tokens.tilted:Tilted", BIASED, ("unweighted",), 1, None, 1, "beliefs times evidence; blind to what was measured at hidden places"),
    "beam": Method("tokens.beam:Beam", MODE, ("absorbing",), 20, None, 1, "the most probable states, ranked with their scores"),
}  # fmt: skip

# name, what it needs besides to be preferred, and why it is
PREFERENCES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("lattice", (), "the prior is a chain of histories: its posterior can be summed"),
    ("advised", (), "the chain's posterior can be summed, and the other experts weigh it"),
    ("clamp", (), "places are known or free: the prior's own chain is exact"),
    ("channel-start", ("substituting",), "y is a state of the prior's process"),
    ("twisted", (), "weighs what every choice means for the rest of the evidence"),
    ("split-gibbs", (), "any process, any evidence"),
    ("tilted", (), "one evaluation per place, but biased"),
)


def make(name: str, **options: Any) -> TokenSolver:
    """The solver called ``name``; options are its fields.

    Raises:
        UnknownNameError: If there is no such method or option.
        UnsupportedError: If it is to take a number of steps, and takes none.
    """
    part = load(named(KIND, TABLE, name).part)
    known = {entry.name for entry in fields(part)}
    if "steps" in options and "steps" not in known:
        others = [n for n, m in TABLE.items() if "steps" in {e.name for e in fields(load(m.part))}]
        raise UnsupportedError(
            "a number of steps", "a solver that goes step by step",
            f"'{name}' does not: leave it out, or name another solver", others,
        )  # fmt: skip
    check(name, options, known)
    solver: TokenSolver = part(**options)
    return solver


def applicable(problem: TokenProblem) -> list[str]:
    """Names of the methods that can be applied, in the order of the table."""
    from sfumato.inverse.tokens.capabilities import lacking

    return [name for name, method in TABLE.items() if not lacking(method.needs, problem)]


def require(name: str, problem: TokenProblem) -> None:
    """Refuses a method that cannot be applied, before any compute.

    Raises:
        UnknownNameError: If there is no such method.
        UnsupportedError: Naming what is missing and the methods that can be applied.
    """
    from sfumato.inverse.tokens import capabilities

    capabilities.require(name, named(KIND, TABLE, name).needs, problem)


def choose(problem: TokenProblem, *, budget: int | None = None) -> tuple[str, str]:
    """The default method and why.

    Args:
        problem: Denoiser and evidence.
        budget: Network evaluations that a sample may cost.
    """
    from sfumato.inverse.tokens.capabilities import lacking

    places = unknown(problem)
    for name, besides, reason in PREFERENCES:
        affordable = budget is None or TABLE[name].evaluations(places) <= budget
        # whether a channel is the process's own noise takes long to find out: only if it matters
        if affordable and not lacking((*TABLE[name].needs, *besides), problem):
            return name, reason
    cheapest = min(applicable(problem), key=lambda name: TABLE[name].evaluations(places))
    return cheapest, f"the cheapest that applies; a budget of {budget} allows none of the others"


def unknown(problem: TokenProblem) -> int:
    """Unknown places of the item that has most."""
    return int((~problem.known).flatten(1).sum(dim=1).max())


@dataclass(frozen=True)
class Row:
    """One method in an explanation."""

    name: str
    method: Method
    evaluations: int
    lacks: tuple[str, ...]

    @property
    def applies(self) -> bool:
        return not self.lacks


@dataclass(frozen=True)
class Explanation:
    """Which methods apply, what they are and cost, and which is the default and why."""

    rows: tuple[Row, ...]
    default: str
    reason: str

    def __str__(self) -> str:
        lines = [f"default: {self.default} ({self.reason})"]
        wide = max(len(row.name) for row in self.rows)
        for row in self.rows:
            verdict = "yes" if row.applies else f"no: needs {' and '.join(row.lacks)}"
            cost = f"{row.evaluations} network"
            lines.append(f"{row.name:{wide}}  {row.method.kind:18}  {cost:>14}  {verdict}")
        return "\n".join(lines)


def explain(problem: TokenProblem, *, budget: int | None = None) -> Explanation:
    """Says which methods apply and which is the default; arguments as in ``choose``."""
    from sfumato.inverse.tokens.capabilities import MEANING, lacking

    places = unknown(problem)
    rows = tuple(
        Row(
            name, method, method.evaluations(places),
            tuple(MEANING[need] for need in lacking(method.needs, problem)),
        )
        for name, method in TABLE.items()
    )  # fmt: skip
    return Explanation(rows, *choose(problem, budget=budget))


def auto(problem: TokenProblem, *, budget: int | None = None) -> tuple[TokenSolver, str]:
    """The default solver and why; arguments as in ``choose``."""
    name, reason = choose(problem, budget=budget)
    return make(name), f"{name}: {reason}"
