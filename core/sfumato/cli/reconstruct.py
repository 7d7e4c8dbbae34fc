"""``sfumato reconstruct PLUGIN OPERATOR INPUT``: damaged files in, files of the same kind out."""

from __future__ import annotations

import inspect
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
    FormatOptions,
    InputName,
    OperatorName,
    PluginName,
    PriorName,
    Save,
    literals,
)
from sfumato.cli.paths import expand, subfolders
from sfumato.errors import InvalidOptionError, PluginError, UnsupportedError
from sfumato.files import atomic_folder, check_folder
from sfumato.registry import load_plugin

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.inverse.tasks import Task
    from sfumato.plugin import Plugin
    from sfumato.priors import Prior
    from sfumato.results import Result
    from sfumato.signals import Signal
    from sfumato.token_results import TokenResult

__all__ = ["Choice", "reconstruct"]


@Parameter(name="*", group=Group("Solving", sort_key=10))
@dataclass(frozen=True)
class Choice:
    """What to draw, and how.

    Args:
        n: Posterior samples of each input.
        seed: Of all randomness; a sample depends on this and its number only.
        solver: Name of a solver, or auto; 'sfumato explain' lists those that apply.
        steps: Steps of the solver. [default: the solver's own]
        budget: Network evaluations per sample that auto may spend.
        options: Further options of the solver, as --options.NAME VALUE.
        label: Class label, for priors that know classes.
        baseline: Classical method of the plugin to run besides; may be given several times.
    """

    n: Annotated[int, Parameter(alias="-n")] = 4
    seed: int = 0
    solver: str = "auto"
    steps: int | None = None
    budget: int | None = None
    options: dict[str, str] | None = None
    label: int | None = None
    baseline: Annotated[tuple[str, ...], Parameter(show_default=False)] = ()

    def checked(self, plugin: Plugin, task: Task) -> Choice:
        """This, if its numbers and names make sense for ``task``.

        Raises:
            InvalidOptionError: If a number is out of range.
            UnknownNameError: If there is no such solver, option of it, or baseline.
        """
        for name in ("n", "steps", "budget"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidOptionError(f"--{name}", str(value), "use 1 or more")
        if self.solver != "auto":
            from sfumato.inverse import registry
            from sfumato.inverse.tokens import registry as token_registry
            from sfumato.inverse.tokens.tasks import TokenTask

            table: Any = token_registry if isinstance(task, TokenTask) else registry
            table.make(self.solver, **self.arguments)
        for name in self.baseline:
            try:
                inspect.signature(plugin.part("baselines", name)).bind("operator", "y")
            except TypeError as error:
                raise PluginError(
                    f"plugin '{plugin.name}': baseline '{name}' does not take (operator, y)."
                ) from error
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """Options of the solver, the steps included."""
        steps = {} if self.steps is None else {"steps": self.steps}
        return {**steps, **literals(self.options)}


def reconstruct(
    plugin: PluginName,
    operator: OperatorName,
    inputs: InputName,
    *,
    prior: PriorName = None,
    choice: Annotated[Choice, Parameter(name="*")] = Choice(),
    out: Annotated[
        Path | None, Parameter(help="Folder to write. [default: INPUT-OPERATOR]")
    ] = None,
    compute: Compute = COMPUTE,
    reading: FormatOptions = None,
    save: Save = SAVE,
    common: Common = COMMON,
    task_options: Annotated[dict[str, Any] | None, Parameter(parse=False)] = None,
) -> Answer:
    """Restore damaged data, with uncertainty.

    Writes the posterior mean in the format of the input, its standard deviation, all samples, a
    report and the record of the run. Several inputs get a folder each.
    """
    domain = load_plugin(plugin)
    task = domain.operator(operator, **(task_options or {}))
    choice.checked(domain, task)
    compute = compute.checked()
    model = load_prior(domain, prior)
    paths, read = expand(domain, inputs), literals(reading)
    for path in paths[1:]:  # the first is checked last, and kept
        task.check(domain.read(path, **read))
    first = domain.read(paths[0], **read)
    task.check(first)
    folder = out or Path(f"{paths[0].stem}-{operator}")
    check_folder(folder, overwrite=save.overwrite)
    model = model.to(compute.device)
    rows, view = [], []
    for index, (path, name) in enumerate(zip(paths, subfolders(paths), strict=True)):
        signal = first if index == 0 else domain.read(path, **read)
        target = folder if len(paths) == 1 else folder / name
        title = path.name if len(paths) == 1 else f"{path.name} ({index + 1} of {len(paths)})"
        others = baselines(domain, task, signal, choice.baseline)
        with progress(title, show=common.bar) as bar:
            result = solve(model, task, signal, choice, compute, index, bar)
        result = replace(result, record=recorded(result, path, plugin))
        write(result, target, others, overwrite=save.overwrite)
        rows.append({"input": path, "out": target, **outputs(target), **result.summary()})
        view += [f"{target}: {result!r}", *(f"  {note}" for note in remarks(result))]
    return Answer({"command": "reconstruct", "results": rows}, tuple(view))


def load_prior(plugin: Plugin, name: str | None) -> Prior:
    """The prior of that name, or the plugin's default one."""
    if name is None and not plugin.priors:
        raise InvalidOptionError(
            "--prior", f"plugin '{plugin.name}' ships no prior", "name a folder"
        )
    return plugin.prior(name)


def solve(
    prior: Prior,
    task: Task,
    signal: Signal,
    choice: Choice,
    compute: Compute,
    index: int,
    bar: Any,
) -> Result | TokenResult:
    from sfumato.api import reconstruct as compute_samples

    found: Result | TokenResult = compute_samples(
        prior, task, signal,
        n=choice.n, seed=choice.seed, first=index, solver=choice.solver, budget=choice.budget,
        steps=choice.steps, options=literals(choice.options),
        condition=None if choice.label is None else {"label": choice.label},
        batch=compute.batch, dtype=compute.torch_dtype,
        callback=lambda share, _: bar(share),
    )  # fmt: skip
    return found


def recorded(result: Result | TokenResult, path: Path, plugin: str) -> dict[str, Any]:
    """The record of a result, with the hash of its input and the plugin's version."""
    from sfumato.records import run_record

    own = dict(result.record)
    extra = run_record(plugin=plugin, inputs=[path])
    return {
        **own,
        "versions": extra["versions"],
        "hashes": {**own.get("hashes", {}), **extra["hashes"]},
    }


def baselines(
    plugin: Plugin, task: Task, signal: Signal, names: tuple[str, ...]
) -> dict[str, Tensor]:
    """Estimates of classical methods, ``[*x]``, in physical units."""
    if not names:
        return {}
    from sfumato.inverse.tokens.tasks import TokenTask

    if isinstance(task, TokenTask):
        raise UnsupportedError("--baseline", "an operator of numbers", "this one is of tokens")
    bound = task.bind(signal)
    return {
        name: bound.finish(plugin.part("baselines", name)(bound.operator, bound.y)[0].cpu())
        for name in names
    }


def write(
    result: Result | TokenResult, folder: Path, others: dict[str, Tensor], *, overwrite: bool
) -> None:
    """Puts a result, with those of baselines, into its folder."""
    from sfumato.results import Result

    with atomic_folder(folder, overwrite=overwrite) as work:
        result.save(work / "result")
        for entry in (work / "result").iterdir():
            entry.rename(work / entry.name)
        (work / "result").rmdir()
        if others and isinstance(result, Result):
            add_baselines(result, work, others)


def add_baselines(result: Result, folder: Path, others: dict[str, Tensor]) -> None:
    from sfumato.evaluation.report import Section, write_report

    restored = next(folder.glob("restored.*"), None)
    if result.signal is not None and restored is not None:
        plugin = load_plugin(str(result.record["plugin"]))
        (folder / "baselines").mkdir()
        for name, estimate in others.items():
            path = folder / "baselines" / f"{name}{restored.suffix}"
            plugin.write(result.signal.with_data(estimate), path)
    section = Section.from_result(result, baselines=others)
    write_report(folder / "report.html", [section], record=result.record)


def outputs(folder: Path) -> dict[str, Any]:
    """The files that people look for."""
    restored = next(folder.glob("restored.*"), None)
    return {"restored": restored, "report": folder / "report.html"}


def remarks(result: Result | TokenResult) -> list[str]:
    from sfumato.evaluation.passages import token_verdict
    from sfumato.evaluation.wordings import verdict
    from sfumato.results import Result

    solver = f"solver {result.record['solver']}: {result.record['reason']}"
    said = verdict(result) if isinstance(result, Result) else token_verdict(result)
    return [said, solver, *(str(note) for note in result.record.get("notes", ()))]
