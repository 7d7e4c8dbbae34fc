"""Which plugins are installed: the entry points of the group ``sfumato.plugins``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from sfumato.errors import PluginError, UnknownNameError
from sfumato.plugin import Plugin

__all__ = ["load_plugin", "plugins"]

GROUP = "sfumato.plugins"


@cache
def plugins() -> Mapping[str, Plugin]:
    """Returns the installed plugins by name. Imports their declarations, not their parts.

    Raises:
        PluginError: If a declaration does not load, is not a ``Plugin``, or two distributions
            claim one name.
    """
    found: dict[str, tuple[EntryPoint, Plugin]] = {}
    for entry in entry_points(group=GROUP):
        plugin = declared(entry)
        other = found.get(plugin.name)
        if other is not None and other[0].value != entry.value:
            raise PluginError(
                f"two plugins are called '{plugin.name}': {source(other[0])} and {source(entry)}; "
                "uninstall one."
            )
        found[plugin.name] = (entry, plugin)
    return MappingProxyType({name: found[name][1] for name in sorted(found)})


def load_plugin(name: str) -> Plugin:
    """Returns the plugin called ``name``.

    Raises:
        UnknownNameError: If none is. Suggests the nearest and lists all.
    """
    available = plugins()
    if name not in available:
        raise UnknownNameError("plugin", name, available)
    return available[name]


def declared(entry: EntryPoint) -> Plugin:
    try:
        plugin = entry.load()
    except Exception as error:
        raise PluginError(f"{source(entry)} does not load: {error}") from error
    if not isinstance(plugin, Plugin):
        raise PluginError(
            f"{source(entry)} is a {type(plugin).__name__}, expected sfumato.plugin.Plugin."
        )
    return plugin


def source(entry: EntryPoint) -> str:
    owner = entry.dist.name if entry.dist is not None else "an unknown distribution"
    return f"'{entry.value}' of {owner}"
