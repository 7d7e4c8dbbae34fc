"""``sfumato plugins [NAME]``: what is installed; imports no torch unless a plugin is named."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from sfumato import registry
from sfumato.cli.answers import Answer
from sfumato.cli.options import COMMON, Common
from sfumato.errors import SfumatoError
from sfumato.plugin import Plugin

__all__ = ["plugins"]

PARTS = ("priors", "formats", "datasets", "metrics", "baselines", "backbones", "converters")


def plugins(
    name: Annotated[str | None, Parameter(help="Plugin to describe.")] = None,
    /,
    *,
    common: Common = COMMON,
) -> Answer:
    """List the installed plugins, or the operators, priors, formats and solvers of one."""
    return listing() if name is None else description(registry.load_plugin(name))


def listing() -> Answer:
    found = registry.plugins().values()
    if not found:
        return Answer({"plugins": []}, ("No plugin is installed: pip install 'sfumato[image]'",))
    table = plain_table("plugin", "what it is for", "operators", "priors")
    for plugin in found:
        summary = f"{plugin.summary}\n{install_line(plugin)}" if plugin.missing else plugin.summary
        table.add_row(plugin.name, summary, ", ".join(plugin.operators), ", ".join(plugin.priors))
    rows = [
        {
            "name": plugin.name,
            "summary": plugin.summary,
            "operators": list(plugin.operators),
            "priors": list(plugin.priors),
            "missing": list(plugin.missing),
            "install": install_line(plugin) if plugin.missing else None,
        }
        for plugin in found
    ]
    return Answer({"plugins": rows}, (table, "More: sfumato plugins NAME"))


def description(plugin: Plugin) -> Answer:
    operators = {name: summary(plugin, name) for name in plugin.operators}
    solvers = {} if plugin.missing else solver_table(plugin)
    data: dict[str, Any] = {
        "name": plugin.name,
        "summary": plugin.summary,
        "missing": list(plugin.missing),
        "operators": operators,
        **{part: list(getattr(plugin, part)) for part in PARTS},
        "solvers": solvers,
    }
    view: list[Any] = [f"{plugin.name}: {plugin.summary}"]
    if plugin.missing:
        view.append(f"Not installed: {', '.join(plugin.missing)}. {install_line(plugin)}")
    table = plain_table("operator", "what it undoes")
    for name, text in operators.items():
        table.add_row(name, text)
    view.append(table)
    parts = plain_table("part", "names (the first is the default)")
    for part in PARTS:
        if data[part]:
            parts.add_row(part, ", ".join(data[part]))
    view.append(parts)
    if solvers:
        solver_view = plain_table("solver", "what it is", "how")
        for name, row in solvers.items():
            solver_view.add_row(name, row["kind"], row["summary"])
        view.append(solver_view)
    view.append(f"Options: sfumato reconstruct {plugin.name} OPERATOR --help")
    return Answer(data, tuple(view))


def summary(plugin: Plugin, operator: str) -> str:
    """An operator's own line; empty if its module cannot be imported."""
    try:
        return str(getattr(plugin.part("operators", operator), "summary", ""))
    except SfumatoError:
        return ""


def solver_table(plugin: Plugin) -> dict[str, dict[str, Any]]:
    """Name → what it is, what it needs and what it costs, from the registry that it uses."""
    from sfumato.inverse.registry import METHODS
    from sfumato.inverse.tokens.registry import TABLE
    from sfumato.inverse.tokens.tasks import TokenTask

    found: dict[str, dict[str, Any]] = {}
    kinds = [plugin.part("operators", name) for name in plugin.operators]
    if any(issubclass(kind, TokenTask) for kind in kinds):
        found |= {
            name: {"kind": m.kind, "needs": list(m.needs), "cost": m.cost, "summary": m.summary}
            for name, m in TABLE.items()
        }
    if not all(issubclass(kind, TokenTask) for kind in kinds):
        found |= {
            name: {
                "kind": m.kind, "needs": list(m.needs), "cost": list(m.cost), "summary": m.summary
            }
            for name, m in METHODS.items()
        }  # fmt: skip
    return found


def install_line(plugin: Plugin) -> str:
    return f"pip install {plugin.install}"


def plain_table(*heads: str) -> Table:
    """A table without a frame."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold")
    return table
