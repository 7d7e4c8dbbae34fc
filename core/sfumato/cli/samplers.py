"""The table of ``sfumato explain --samplers``: which samplers go with which prior."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sfumato.cli.answers import Answer
from sfumato.errors import SfumatoError
from sfumato.registry import load_plugin, plugins

if TYPE_CHECKING:
    from sfumato.priors import Prior
    from sfumato.samplers.presets import Preset

__all__ = ["samplers"]


def samplers(plugin: str | None, prior: str | None) -> Answer:
    """Every preset with its cost, and for every prior whether it can be used.

    Args:
        plugin: Whose priors; those of all plugins if not given.
        prior: The only prior to consider.
    """
    from sfumato.samplers.presets import PRESETS

    models = chosen(plugin, prior)
    rows = [
        {"name": name, **asdict(preset), "priors": {n: says(preset, m) for n, m in models.items()}}
        for name, preset in PRESETS.items()
    ]
    return Answer({"command": "explain", "samplers": rows}, tuple(lines(rows, list(models))))


def chosen(plugin: str | None, prior: str | None) -> dict[str, Prior]:
    """The priors to consider, by name."""
    from sfumato.cli.reconstruct import load_prior
    from sfumato.priors import Prior

    if plugin is not None and prior is not None:
        return {prior: load_prior(load_plugin(plugin), prior)}
    found = {}
    for name in [plugin] if plugin is not None else plugins():
        for shipped in load_plugin(name).priors:
            try:
                found[shipped] = Prior.load(shipped, plugin=name)
            except (SfumatoError, OSError):
                if plugin is not None:
                    raise
    return found


def says(preset: Preset, prior: Prior) -> str:
    """``"yes"``, or what is missing."""
    from sfumato.samplers.presets import lacking
    from sfumato.token_priors import TokenPrior

    if isinstance(prior, TokenPrior):
        return "no: needs a prior over numbers"
    missing = lacking(preset, prior.denoiser)
    return f"no: needs {' and '.join(missing)}" if missing else "yes"


def lines(rows: list[dict[str, Any]], priors: list[str]) -> list[str]:
    """One line per preset, and where the choice is made."""
    from sfumato.samplers.presets import PRESETS

    wide = max(len(row["name"]) for row in rows)
    found = []
    for row in rows:
        cost = "depends" if row["cost"] is None else f"{row['steps']} × {row['cost']}"
        cost = cost if PRESETS[row["name"]].selectable else "–"
        verdicts = dict.fromkeys(row["priors"].values())
        if len(verdicts) == 1:
            verdict = next(iter(verdicts))
        else:
            verdict = "; ".join(f"{name}: {row['priors'][name]}" for name in priors)
        place = f" (sfumato.{row['part'].replace(':', '.')})" if verdict.startswith("no") else ""
        head = f"{row['name']:{wide}}  {cost:>8}  {row['summary']} ({row['paper']})"
        found.append(f"{head}: {verdict}{place}" if verdict else head)
    return [
        f"priors: {', '.join(priors) or 'none'}; cost: steps × network evaluations",
        *found,
        "choose with 'sfumato sample PLUGIN --sampler NAME' and "
        "'sfumato reconstruct … --options.sampler NAME' for guided solvers",
    ]
