"""``sfumato degrade PLUGIN OPERATOR INPUT --out FILE``: simulate a measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from sfumato.cli.answers import Answer
from sfumato.cli.options import (
    COMMON,
    SAVE,
    Common,
    FormatOptions,
    OperatorName,
    PluginName,
    Save,
    literals,
)
from sfumato.cli.paths import check_file
from sfumato.records import run_record
from sfumato.registry import load_plugin

__all__ = ["degrade"]


def degrade(
    plugin: PluginName,
    operator: OperatorName,
    source: Annotated[Path, Parameter(name="input", help="A clean file.")],
    *,
    out: Annotated[Path, Parameter(help="File to write.")],
    seed: Annotated[int, Parameter(help="Of the noise.")] = 0,
    reading: FormatOptions = None,
    save: Save = SAVE,
    common: Common = COMMON,
    task_options: Annotated[dict[str, Any] | None, Parameter(parse=False)] = None,
) -> Answer:
    """Simulate a measurement of clean data."""
    domain = load_plugin(plugin)
    task = domain.operator(operator, **(task_options or {}))
    signal = domain.read(source, **literals(reading))
    check_file(out, overwrite=save.overwrite, plugin=domain)
    damaged = task.degrade(signal, seed=seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    domain.write(damaged, out)
    record = run_record(seed=seed, plugin=plugin, inputs=[source])
    data = {
        "command": "degrade",
        "input": source,
        "out": out,
        "shape": list(damaged.data.shape),
        **record,
    }
    return Answer(data, (f"{out}: {source} after {plugin} {operator}, seed {seed}",))
