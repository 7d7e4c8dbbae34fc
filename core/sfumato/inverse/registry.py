"""Every method: what it needs, what it costs, what it is, and which one is the default.

One line per method. Nothing here imports torch until a method is made, so that lists and help are
quick. Costs are per step and sample, in network evaluations, backward passes and pairs of products
with A and A*.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from sfumato.errors import UnknownNameError

if TYPE_CHECKING:
    from sfumato.denoisers import Denoiser
    from sfumato.inverse.operators import Operator
    from sfumato.inverse.problems import Solver

__all__ = [
    "METHODS",
    "Explanation",
    "Method",
    "Row",
    "applicable",
    "auto",
    "choose",
    "explain",
    "make",
    "named",
    "require",
]

T = TypeVar("T")
EXACT, MOMENTS, MODE = "exact in the limit", "moment-matched", "MAP-like"


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Args:
        part: ``"module:Class"`` below ``sfumato.inverse``; a guide or a solver.
        kind: ``"exact in the limit"`` (of particles, steps or coupling), ``"moment-matched"`` (exact
            for Gaussian posteriors as far as it keeps the moments) or ``"MAP-like"`` (spread and mode
            weights are not the posterior's).
        needs: Capabilities; see ``sfumato.inverse.capabilities``.
        cost: Network evaluations, backward passes, and products with A and A* per step.
        steps: Steps that it takes unless told otherwise.
        summary: One line.
        sampler: For guides: the options of the sampler.
        rule: For guides: the name of the sampler.
        options: Options that differ from the class's own.
    """

    part: str
    kind: str
    needs: tuple[str, ...]
    cost: tuple[int, int, int]
    steps: int
    summary: str
    sampler: tuple[tuple[str, Any], ...] | None = None
    options: tuple[tuple[str, Any], ...] = ()
    rule: str = "ddpm"

    @property
    def evaluations(self) -> int:
        """Network evaluations and backward passes of a run with the default steps."""
        return self.steps * (self.cost[0] + self.cost[1])


CALIBRATED = (("variance", "calibrated"),)
ANCESTRAL = (("variance", "small"),)
LG = ("linear", "gaussian")

METHODS: dict[str, Method] = {
    "denoising": Method("solvers.denoising:Denoising", EXACT, ("identity", "gaussian", "noisy"), (1, 0, 0), 10, "the prior's reverse process, started at the noise level of y"),
    "fused": Method("guides.fused:Fused", EXACT, ("mask", "places", "gaussian", "uneven"), (1, 0, 0), 12, "state and measurement as one state with uneven levels; nothing is approximated", (("order", 2), ("eta", 1.0)), (("start", 5.0), ("end", 0.01), ("mean_over", (0.0, 0.0))), "dpm-solver"),
    "fused-gibbs": Method("guides.fused:Fused", MOMENTS, ("mask", "places", "gaussian", "uneven", "variance"), (2, 0, 0), 10, "the same, drawn in rounds with the denoiser's own variances; for trained networks", (("rounds", 2),), (("start", 5.0), ("end", 0.01), ("mean_over", (0.25, 1.0)), ("pilot_steps", 20), ("pilot_start", 0.8), ("inflation", None)), "gibbs"),
    "proximal": Method("guides.proximal:Proximal", MOMENTS, (*LG, "variance"), (3, 0, 3), 11, "Gibbs sampling between x₀ and x_t at falling noise; no backward pass", (("rounds", 3), ("single_below", 0.04)), (("start", 5.0), ("end", 0.02), ("mean_over", (0.25, 1.0)), ("pilot_steps", 32), ("pilot_start", 0.8), ("settled", 0.024)), "gibbs"),
    "matched": Method("guides.matched:Matched", MOMENTS, ("linear", "moments", "variance"), (4, 0, 4), 8, "proximal for rounded data: what rounding says is matched to the belief at hand", (("rounds", 4),), (("start", 5.0), ("end", 0.01), ("mean_over", (0.25, 1.0))), "gibbs"),
    "diagonal": Method("guides.diagonal:Diagonal", MOMENTS, ("gaussian", "variance"), (1, 0, 10), 20, "moment matching with the denoiser's own variances; no backward pass", CALIBRATED),
    "mmps": Method("guides.moment:MMPS", MOMENTS, ("gaussian",), (1, 8, 8), 20, "moment matching with the Jacobian's covariance, and draws from it", CALIBRATED),
    "mmps-exact": Method("guides.moment:MMPS", MOMENTS, ("gaussian", "covariance"), (1, 8, 8), 5, "the same with converged solves at few levels; exact for Gaussian priors", CALIBRATED, (("iterations", 8), ("lanczos", 8))),
    "tmpd": Method("guides.tmpd:TMPD", MOMENTS, ("gaussian",), (1, 2, 2), 50, "moment matching with the diagonal of A V A*", ANCESTRAL),
    "pigdm": Method("guides.pigdm:PiGDM", MOMENTS, LG, (1, 1, 2), 50, "pseudo-inverse guidance with noise and the data's variance", ANCESTRAL),
    "dps": Method("guides.dps:DPS", MODE, ("noisy",), (1, 1, 1), 100, "the likelihood's gradient, in likelihood units; any operator, any noise", ANCESTRAL),
    "dps-norm": Method("solvers.dps:NormDPS", MODE, (), (1, 1, 1), 1000, "the step of the DPS paper; needs tuning of zeta and steps"),
    "ddnm": Method("guides.ddnm:DDNM", MODE, ("linear",), (1, 0, 1), 50, "null-space projection; takes y to be exact", ANCESTRAL),
    "ddnm+": Method("solvers.ddnm:DDNMPlus", MODE, ("spectrum", "gaussian"), (1, 0, 1), 100, "null-space sampling with noise and time travel"),
    "diffpir": Method("guides.diffpir:DiffPIR", MODE, LG, (1, 0, 10), 50, "a proximal step on the measurement", ANCESTRAL),
    "dds": Method("guides.dds:DDS", MODE, LG, (1, 0, 5), 50, "a few conjugate-gradient steps on the measurement", ANCESTRAL),
    "admm": Method("solvers.admm:ADMM", MODE, LG, (1, 0, 10), 20, "a point estimate by plug-and-play ADMM; quick"),
    "ddrm": Method("solvers.ddrm:DDRM", MODE, ("spectrum", "gaussian"), (1, 0, 1), 20, "sampling in the singular basis"),
    "repaint": Method("solvers.repaint:RePaint", MODE, ("mask", "gaussian"), (5, 0, 0), 50, "inpainting by replacement and resampling"),
    "daps": Method("solvers.daps:DAPS", MODE, (), (2, 0, 20), 50, "decoupled annealing; any operator, any noise"),
    "gibbs": Method("solvers.gibbs:SplitGibbs", EXACT, (), (5, 0, 20), 60, "split Gibbs sampling; any operator, any noise"),
    "red-diff": Method("solvers.reddiff:REDdiff", MODE, (), (1, 0, 1), 200, "a point estimate by stochastic optimisation"),
    "tds": Method("solvers.twisted:TwistedSMC", EXACT, (*LG, "noisy"), (32, 32, 64), 20, "particles with weights around a Gaussian guess; for posteriors with several modes"),
}  # fmt: skip


def make(name: str, **options: Any) -> Solver:
    """The solver called ``name``. Options are fields of the guide, its sampler or the solver.

    ``sampler`` may be the name of one (``sfumato.samplers.presets``), for guides.

    Raises:
        UnknownNameError: If no method, or none of its parts, knows the name.
        UnsupportedError: If the sampler needs what a name does not give.
    """
    method = named("solver", METHODS, name)
    part = load(method.part)
    given: dict[str, Any] = {"steps": method.steps, **dict(method.options), **options}
    if method.sampler is None:
        known = {entry.name for entry in fields(part)}
        check(name, given, known)
        solver: Solver = part(**given)
        return solver
    guided = load("solvers.guided:Guided")
    if isinstance(given.get("sampler"), str):  # another rule than the method's own
        rule = given.pop("sampler")
        sampler, own = load_sampler(rule)
    else:
        sampler, own = load_sampler(method.rule)[0], dict(method.sampler)
    parts = {
        kind: {entry.name for entry in fields(kind)} - {"guide"} for kind in (part, sampler, guided)
    }
    check(name, given, set().union(*parts.values()))
    given = own | given
    taken = {
        kind: {key: value for key, value in given.items() if key in known}
        for kind, known in parts.items()
    }
    taken[guided].setdefault("sampler", sampler(**taken[sampler]))
    made: Solver = guided(part(**taken[part]), **taken[guided])
    return made


def named(kind: str, table: Mapping[str, T], name: str) -> T:
    """The entry ``name`` of a table.

    Raises:
        UnknownNameError: If it has none. Suggests the nearest and lists all.
    """
    if name not in table:
        raise UnknownNameError(kind, name, table)
    return table[name]


def applicable(operator: Operator, denoiser: Denoiser) -> list[str]:
    """Names of the methods that can be applied, in the order of the table."""
    from sfumato.inverse.capabilities import lacking

    return [
        name for name, method in METHODS.items() if not lacking(method.needs, operator, denoiser)
    ]


def require(name: str, operator: Operator, denoiser: Denoiser) -> None:
    """Refuses a method that cannot be applied, before any compute.

    Raises:
        UnknownNameError: If there is no such method.
        UnsupportedError: Naming what is missing and the methods that can be applied.
    """
    from sfumato.inverse import capabilities

    capabilities.require(name, named("solver", METHODS, name).needs, operator, denoiser)


def choose(operator: Operator, denoiser: Denoiser, *, budget: int | None = None) -> tuple[str, str]:
    """The default method and why.

    Args:
        operator: What was measured, and with which noise.
        denoiser: The prior.
        budget: Network evaluations and backward passes that a sample may cost.
    """
    from sfumato.inverse.capabilities import lacking

    able = applicable(operator, denoiser)
    for name, besides, reason in PREFERENCES:
        affordable = budget is None or METHODS[name].evaluations <= budget
        if name in able and affordable and not lacking(besides, operator, denoiser):
            return name, reason
    cheapest = min(able, key=lambda name: METHODS[name].evaluations)
    return cheapest, f"the cheapest that applies; a budget of {budget} allows none of the others"


# name, what it needs besides to be preferred, and why it is
PREFERENCES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("mmps-exact", ("linear",), "the prior knows its covariance: no backward pass"),
    ("denoising", (), "y is a state of the prior's process; only the network approximates"),
    ("fused-gibbs", ("learned",), "y and x_t are one state; rounds mend what a network fills in"),
    ("fused", (), "y and x_t are one state of the prior's process; only the network approximates"),
    ("proximal", (), "the prior reports its variance; calibrated draws, no backward pass"),
    ("matched", (), "rounded data; calibrated draws, no backward pass"),
    ("diagonal", ("linear",), "the prior reports its variance; calibrated, no backward pass"),
    ("mmps", ("linear",), "linear A and Gaussian noise; keeps the prior's correlations"),
    ("pigdm", (), "the best with one backward pass per step"),
    ("daps", (), "takes any operator and any noise"),
    ("dps", (), "any operator and any noise, one backward pass per step"),
    ("diffpir", (), "no backward pass"),
)


SEVERAL = {
    "fused": "fused approximates nothing but the network; give it 30 steps",
    "tds": "tds weighs the modes rightly; other guides and MAP-like methods do not",
}
"""What to use where the posterior has several modes, best first."""


@dataclass(frozen=True)
class Row:
    """One method in an explanation."""

    name: str
    method: Method
    lacks: tuple[str, ...]

    @property
    def applies(self) -> bool:
        return not self.lacks

    @property
    def cost(self) -> str:
        """Cost per step, in words."""
        forward, backward, products = self.method.cost
        words = ((forward, "network"), (backward, "backward"), (products, "A"))
        return " + ".join(f"{count} {word}" for count, word in words if count)


@dataclass(frozen=True)
class Explanation:
    """Which methods apply, what they are and cost, and which is the default and why."""

    rows: tuple[Row, ...]
    default: str
    reason: str
    multimodal: str

    def __str__(self) -> str:
        lines = [f"default: {self.default} ({self.reason})", f"several modes: {self.multimodal}"]
        wide = max(len(row.name) for row in self.rows)
        for row in self.rows:
            verdict = "yes" if row.applies else f"no: needs {' and '.join(row.lacks)}"
            method = row.method
            lines.append(
                f"{row.name:{wide}}  {method.kind:18}  {method.steps} × ({row.cost})  {verdict}"
            )
        return "\n".join(lines)


def explain(operator: Operator, denoiser: Denoiser, *, budget: int | None = None) -> Explanation:
    """Says which methods apply and which is the default; arguments as in ``choose``."""
    from sfumato.inverse.capabilities import MEANING, lacking

    rows = tuple(
        Row(name, method, tuple(MEANING[n] for n in lacking(method.needs, operator, denoiser)))
        for name, method in METHODS.items()
    )
    default, reason = choose(operator, denoiser, budget=budget)
    able = {row.name for row in rows if row.applies}
    several = next(
        (words for name, words in SEVERAL.items() if name in able),
        "no method here weighs the modes rightly; gibbs comes nearest with many steps",
    )
    return Explanation(rows, default, reason, several)


def auto(
    operator: Operator, denoiser: Denoiser, *, budget: int | None = None
) -> tuple[Solver, str]:
    """The default solver and why; arguments as in ``choose``."""
    name, reason = choose(operator, denoiser, budget=budget)
    return make(name), f"{name}: {reason}"


def load(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(f"sfumato.inverse.{module}"), name)


def load_sampler(rule: str) -> tuple[Any, dict[str, Any]]:
    """The class of a sampler and the options that the name stands for."""
    presets = importlib.import_module("sfumato.samplers.presets")
    preset = presets.named(rule)
    return presets.load(preset.part), presets.settings(preset)


def check(name: str, given: Mapping[str, Any], known: set[str]) -> None:
    for option in given:
        if option not in known:
            raise UnknownNameError(f"option of solver {name}", option, known)
