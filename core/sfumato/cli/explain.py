"""``sfumato explain PLUGIN OPERATOR``: which solvers apply, what they cost and are, and why."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from sfumato.cli.answers import Answer
from sfumato.cli.options import COMMON, Common, OperatorName, PluginName, PriorName
from sfumato.cli.reconstruct import load_prior
from sfumato.errors import InvalidOptionError
from sfumato.registry import load_plugin

if TYPE_CHECKING:
    from sfumato.inverse.tasks import Task
    from sfumato.priors import Prior
    from sfumato.signals import Signal

__all__ = ["explain"]

SIDE = 64
"""Side of the stand-in for an input, where the prior leaves the size open."""


def explain(
    plugin: PluginName | None = None,
    operator: OperatorName | None = None,
    source: Annotated[
        Path | None,
        Parameter(name="input", help="File to measure; noise stands in for it if none is given."),
    ] = None,
    *,
    prior: PriorName = None,
    samplers: Annotated[
        bool, Parameter(help="List the samplers and the priors they go with.", negative=())
    ] = False,
    budget: Annotated[
        int | None, Parameter(help="Network evaluations per sample that may be spent.")
    ] = None,
    common: Common = COMMON,
    task_options: Annotated[dict[str, Any] | None, Parameter(parse=False)] = None,
) -> Answer:
    """Say which solvers apply to an operator, what they cost and are, and which is the default."""
    if samplers:
        from sfumato.cli.samplers import samplers as table

        return table(plugin, prior)
    if plugin is None or operator is None:
        raise InvalidOptionError(
            "explain", "no operator is named", "name PLUGIN and OPERATOR, or ask for --samplers"
        )
    domain = load_plugin(plugin)
    task = domain.operator(operator, **(task_options or {}))
    model = load_prior(domain, prior)
    signal = domain.read(source) if source is not None else stand_in(task, model)
    from sfumato.api import explain as explanation_of
    from sfumato.inverse.tokens.tasks import TokenTask

    notes: tuple[str, ...] = ()
    if isinstance(task, TokenTask):
        explanation = explanation_of(task, model, signal, budget=budget)
    else:
        bound = task.bind(signal)
        notes = bound.notes
        explanation = explanation_of(bound.operator, model, budget=budget)
    data = asdict(explanation)
    head = {"command": "explain", "plugin": plugin, "operator": operator, "prior": repr(model)}
    return Answer(head | data, (str(explanation), *notes))


def stand_in(task: Task, prior: Prior) -> Signal:
    """A simulated measurement of noise with the shape the prior models; of a draw, for tokens."""
    import torch

    from sfumato.api import sample
    from sfumato.noise import Streams
    from sfumato.signals import Signal
    from sfumato.token_priors import TokenPrior

    if isinstance(prior, TokenPrior):
        (drawn,) = sample(prior, shape=tuple(SIDE if n is None else n for n in prior.shape))
        return task.degrade(prior.codec.to_signal(drawn))
    shape = [SIDE if n is None else n for n in prior.shape]
    noise = Streams.count(0, 1).uniform(torch.zeros(1, *shape)) - 0.5
    return task.degrade(Signal(prior.codec.decode(noise)[0]))
