"""``sfumato sample PLUGIN``: draws from a prior, as files of the domain."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from sfumato.cli.answers import Answer, progress
from sfumato.cli.options import (
    COMMON,
    COMPUTE,
    SAVE,
    Common,
    Compute,
    PluginName,
    PriorName,
    Save,
)
from sfumato.cli.reconstruct import load_prior
from sfumato.errors import InvalidOptionError
from sfumato.files import atomic_folder, check_folder
from sfumato.records import run_record
from sfumato.registry import load_plugin

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.plugin import Plugin
    from sfumato.priors import Prior

__all__ = ["Draw", "sample"]

SIDE = 64
"""Side of a sample where prior and person leave it open."""

LENGTH = 200
"""Tokens of a sample where prior and person leave it open."""


@Parameter(name="*", group=Group("Sampling", sort_key=10))
@dataclass(frozen=True)
class Draw:
    """What to draw, and how.

    Args:
        n: How many samples.
        seed: A sample depends on this and its number only.
        sampler: Name of a sampler; 'sfumato explain PLUGIN --samplers' lists them. [default: deis;
            for tokens, one place at a time]
        steps: Its steps. [default: the sampler's own, 20 for deis; for tokens, as many as there
            are places]
        grid: Where the steps lie: karras, log-snr, uniform, quadratic, var-linear or var-quadratic.
            [default: the sampler's own]
        end: Noise over signal from which the last step goes to clean data. [default: the prior's]
        label: Class label, for priors that know classes.
        scale: Classifier-free guidance towards the label; 1 is none.
        shape: Shape of one sample. [default: the prior's, with 64 for sides that it leaves open,
            200 for a row of tokens]
    """

    n: Annotated[int, Parameter(alias="-n")] = 16
    seed: int = 0
    sampler: Annotated[str, Parameter(show_default=False)] = "auto"
    steps: int | None = None
    grid: str | None = None
    end: float | None = None
    label: int | None = None
    scale: float = 1.0
    shape: Annotated[tuple[int, ...], Parameter(show_default=False)] = ()


def sample(
    plugin: PluginName,
    *,
    out: Annotated[Path, Parameter(help="Folder to write.")],
    prior: PriorName = None,
    draw: Annotated[Draw, Parameter(name="*")] = Draw(),
    compute: Compute = COMPUTE,
    save: Save = SAVE,
    common: Common = COMMON,
) -> Answer:
    """Draw from a prior."""
    domain = load_plugin(plugin)
    for name in ("n", "steps"):
        value = getattr(draw, name)
        if value is not None and value < 1:
            raise InvalidOptionError(f"--{name}", str(value), "use 1 or more")
    compute = compute.checked()
    model = load_prior(domain, prior)
    check_folder(out, overwrite=save.overwrite)
    from sfumato.api import sample as samples_of

    with progress(f"{plugin} samples", show=common.bar) as bar:
        samples = samples_of(
            model.to(compute.device),
            n=draw.n, seed=draw.seed, sampler=draw.sampler, steps=draw.steps, grid=draw.grid,
            end=draw.end, shape=draw.shape or shape_of(model), scale=draw.scale,
            condition=None if draw.label is None else {"label": draw.label},
            batch=compute.batch, dtype=compute.torch_dtype,
            callback=lambda share, _: bar(share),
        )  # fmt: skip
    names = write(domain, model, samples, out, draw, overwrite=save.overwrite)
    data = {"command": "sample", "out": out, "files": [out / name for name in names]}
    return Answer(
        data | {"shape": list(draw.shape or shape_of(model))}, (f"{out}: {len(names)} samples",)
    )


def shape_of(prior: Prior) -> tuple[int, ...]:
    from sfumato.token_priors import TokenPrior

    side = LENGTH if isinstance(prior, TokenPrior) else SIDE
    return tuple(side if n is None else n for n in prior.shape)


def write(
    plugin: Plugin,
    prior: Prior,
    samples: Tensor | tuple[Any, ...],
    folder: Path,
    draw: Draw,
    *,
    overwrite: bool,
) -> list[str]:
    """Writes each sample, a page that shows them, and the record; returns the names."""
    from sfumato.evaluation.figures import picture
    from sfumato.evaluation.passages import Passage, Run
    from sfumato.evaluation.report import Section, plugin_pictures, write_report
    from sfumato.signals import Signal
    from sfumato.token_priors import TokenPrior

    suffix = plugin.part("formats", next(iter(plugin.formats)))().suffixes[0]
    names = [f"{index:03d}{suffix}" for index in range(len(samples))]
    options = {"sampler": draw.sampler, "steps": draw.steps, "grid": draw.grid, "end": draw.end}
    record = run_record(seed=draw.seed, plugin=plugin.name) | {
        "plugin": plugin.name,
        "prior": prior.card.get("name", ""),
        "prior_hash": prior.hash(),
        "condition": None if draw.label is None else f"label {draw.label}, scale {draw.scale}",
        **options,
    }
    show = plugin_pictures(plugin.name)
    tokens = isinstance(prior, TokenPrior)
    codec: Any = prior.codec
    signals = [codec.to_signal(x) if tokens else Signal(x) for x in samples]
    section = Section(f"Samples of {prior.card.get('name') or 'a prior'}")
    if plugin.words:
        words = plugin.resolve(plugin.words)
        passages = (Passage(n, (Run(words(x.data)),)) for n, x in zip(names, signals, strict=True))
        section = replace(section, passages=tuple(passages))
    else:
        figures = (
            picture(name, signal, show, alt=f"Sample {index} of the prior")
            for index, (name, signal) in enumerate(zip(names, signals, strict=True))
        )
        section = replace(section, samples=tuple(figures))
    with atomic_folder(folder, overwrite=overwrite) as work:
        for name, signal in zip(names, signals, strict=True):
            plugin.write(signal, work / name)
        text = json.dumps(record, indent=2, ensure_ascii=False)
        (work / "run.json").write_text(text + "\n", encoding="utf-8")
        write_report(work / "report.html", [section], record=record)
    return names
