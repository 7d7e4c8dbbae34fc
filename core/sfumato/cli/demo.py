"""``sfumato demo [PLUGIN]``: the whole story on bundled data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from sfumato.cli.answers import Answer
from sfumato.cli.options import COMMON, SAVE, Common, Save
from sfumato.errors import UnknownNameError
from sfumato.files import atomic_folder, check_folder
from sfumato.plugin import Plugin
from sfumato.registry import load_plugin, plugins

__all__ = ["demo"]


def demo(
    plugin: Annotated[
        str | None, Parameter(help="Which one. [default: the first that has one]")
    ] = None,
    *,
    out: Annotated[Path | None, Parameter(help="Folder to write. [default: sfumato-demo]")] = None,
    seed: Annotated[int, Parameter(help="Of all randomness.")] = 0,
    save: Save = SAVE,
    common: Common = COMMON,
) -> Answer:
    """Restore bundled data and write a report, in a few minutes."""
    domain = with_demo(plugin)
    run: Any = domain.resolve(domain.demo)
    folder = out or Path("sfumato-demo")
    check_folder(folder, overwrite=save.overwrite)
    with atomic_folder(folder, overwrite=save.overwrite) as work:
        inside = Path(run(work, seed=seed, progress=common.bar)).relative_to(work)
    report = folder / inside
    data = {"command": "demo", "plugin": domain.name, "out": folder, "report": report}
    return Answer(data, (f"Open {report}",))


def with_demo(name: str | None) -> Plugin:
    """The plugin of that name; the first that has a demonstration if none is named.

    Raises:
        UnknownNameError: If there is no such plugin, or it has no demonstration.
    """
    able = [plugin for plugin in plugins().values() if plugin.demo]
    if name is not None:
        plugin = load_plugin(name)
        if plugin.demo:
            return plugin
    elif able:
        return min(able, key=lambda plugin: bool(plugin.missing))
    raise UnknownNameError("plugin with a demo", name or "", [plugin.name for plugin in able])
