"""Posterior sampling with diffusion priors: restore damaged data, with uncertainty.

Verbs are functions and plural nouns are modules. Every name is imported on first use (PEP 562), so
that ``import sfumato`` costs nothing and imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfumato import (
        denoisers,
        errors,
        evaluation,
        inverse,
        networks,
        processes,
        samplers,
        testing,
        training,
    )
    from sfumato.api import degrade, explain, reconstruct, sample
    from sfumato.plugin import Plugin
    from sfumato.priors import Prior
    from sfumato.registry import load_plugin, plugins
    from sfumato.results import Result
    from sfumato.samplers.presets import presets
    from sfumato.signals import Signal
    from sfumato.training import finetune

    __version__: str

__all__ = [
    "Plugin",
    "Prior",
    "Result",
    "Signal",
    "__version__",
    "degrade",
    "denoisers",
    "errors",
    "evaluation",
    "explain",
    "finetune",
    "inverse",
    "load_plugin",
    "networks",
    "plugins",
    "presets",
    "processes",
    "reconstruct",
    "sample",
    "samplers",
    "testing",
    "training",
]

HOMES = {
    "Plugin": "plugin",
    "Prior": "priors",
    "Result": "results",
    "Signal": "signals",
    "degrade": "api",
    "explain": "api",
    "finetune": "training",
    "load_plugin": "registry",
    "plugins": "registry",
    "presets": "samplers.presets",
    "reconstruct": "api",
    "sample": "api",
}
"""Name → the module that defines it. Every other public name is a module."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("sfumato")
    elif name in HOMES:
        value = getattr(importlib.import_module(f"sfumato.{HOMES[name]}"), name)
    elif name in __all__:
        value = importlib.import_module(f"sfumato.{name}")
    else:
        raise AttributeError(f"module 'sfumato' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
