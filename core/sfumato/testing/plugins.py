"""The contract of a plugin.

The declaration has a usable name and one-line texts, imports no torch, and every part it names
resolves to what its table says it is. With an example signal, every file format is written and read
back, and every task is followed: from a clean signal to a measurement and to an operator that obeys
the operator laws; for a task on tokens, with a prior over tokens, to evidence that the clean signal
itself does not contradict, and to a result whose samples depend on seed and number only.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sfumato.api import reconstruct
from sfumato.inverse.tasks import Task
from sfumato.inverse.tokens.tasks import TokenTask
from sfumato.plugin import Plugin
from sfumato.priors import Prior
from sfumato.registry import plugins
from sfumato.signals import Format, Signal
from sfumato.testing.comparisons import require
from sfumato.testing.formats import check_format, check_suffixes
from sfumato.testing.operators import check_operator
from sfumato.token_priors import TokenPrior

__all__ = ["check_plugin"]

CALLABLES = ("metrics", "baselines", "converters", "datasets", "codecs")
HEAVY = ("torch", "numpy", "matplotlib")


def check_plugin(
    plugin: Plugin,
    *,
    signal: Signal | None = None,
    tasks: Iterable[Task] = (),
    prior: Prior | None = None,
    tolerance: float = 0.0,
    operator_tolerance: float | None = None,
) -> None:
    """Checks the contract above.

    Args:
        plugin: What to check.
        signal: A small clean example that every format can write. Without it formats and tasks are
            only resolved.
        tasks: Tasks to follow with ``signal``, such as ``plugin.operator("inpaint", noise=0.05)``.
        prior: A small prior over tokens, for tasks on tokens.
        tolerance: Largest difference that writing and reading ``signal`` may cause, in its units.
        operator_tolerance: Passed to ``check_operator``.

    Raises:
        AssertionError: Naming the law that does not hold.
        MissingDependencyError: If a module that the plugin requires is not installed.
    """
    check_declaration(plugin)
    check_imports(plugin)
    formats = check_formats(plugin)
    check_tasks(plugin)
    for name in plugin.backbones:
        network = plugin.part("backbones", name)
        good = isinstance(network, type) and issubclass(network, nn.Module)
        require(good, part(plugin, "backbones", name), "a backbone is a torch.nn.Module class")
    for table in CALLABLES:
        for name in getattr(plugin, table):
            value = plugin.part(table, name)
            require(callable(value), part(plugin, table, name), "it can be called")
    for reference in filter(None, (plugin.pictures, plugin.words, plugin.passages, plugin.demo)):
        require(callable(plugin.resolve(reference)), f"'{reference}'", "it can be called")
    check_priors(plugin)
    if signal is not None:
        for format in formats:  # noqa: A001
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"example{format.suffixes[0]}"
                check_format(format, signal, path, tolerance=tolerance)
        for task in tasks:
            if isinstance(task, TokenTask):
                follow_tokens(task, signal, prior)
            else:
                follow(task, signal, operator_tolerance)


def part(plugin: Plugin, table: str, name: str) -> str:
    return f"plugin '{plugin.name}', {table}['{name}']"


def check_declaration(plugin: Plugin) -> None:
    require(isinstance(plugin, Plugin), plugin, "PLUGIN is a sfumato.plugin.Plugin")
    subject = f"plugin '{plugin.name}'"
    good = re.fullmatch(r"[a-z][a-z0-9_-]*", plugin.name) is not None
    require(good, subject, "a name has lower-case letters, digits, - and _")
    for what in ("summary", "install"):
        text = getattr(plugin, what)
        require(bool(text.strip()) and "\n" not in text, subject, f"{what} is one line", repr(text))
    for table in ("formats", "operators", "priors", "datasets", "backbones", "metrics"):
        for name in getattr(plugin, table):
            plain = re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name) is not None
            require(plain, part(plugin, table, name), "a name has no blanks", repr(name))
    require(
        not plugin.missing, subject, "required modules are installed", ", ".join(plugin.missing)
    )


def check_imports(plugin: Plugin) -> None:
    """A registered declaration is loaded in a fresh interpreter, which then holds no torch."""
    if plugins().get(plugin.name) is not plugin:
        return
    code = (
        "import sys; from sfumato.registry import load_plugin; "
        f"load_plugin({plugin.name!r}); "
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    subject = f"plugin '{plugin.name}'"
    require(done.returncode == 0, subject, "the declaration loads", done.stderr.strip()[-500:])
    loaded = done.stdout.split()
    require(not loaded, subject, "the declaration imports nothing heavy", ", ".join(loaded))


def check_formats(plugin: Plugin) -> list[Format]:
    formats: list[Format] = []
    owners: dict[str, str] = {}
    for name in plugin.formats:
        format = plugin.part("formats", name)()  # noqa: A001
        check_suffixes(format)
        for suffix in format.suffixes:
            other = owners.setdefault(suffix, name)
            law = f"suffix '{suffix}' belongs to one format"
            require(other == name, part(plugin, "formats", name), law, f"'{other}' has it too")
        formats.append(format)
    return formats


def check_tasks(plugin: Plugin) -> None:
    for name in plugin.operators:
        kind, subject = plugin.part("operators", name), part(plugin, "operators", name)
        good = isinstance(kind, type) and issubclass(kind, Task) and dataclasses.is_dataclass(kind)
        require(good, subject, "an operator is a dataclass derived from Task")
        require(bool(kind.summary.strip()), subject, "summary says in one line what it does")
        parameters: Any = kind.__dataclass_params__
        require(parameters.frozen, subject, "it is frozen: @dataclass(frozen=True)")
        known = documented(kind)
        for entry in dataclasses.fields(kind):
            require(entry.name in known, subject, f"option '{entry.name}' is documented")


def documented(kind: type) -> set[str]:
    """Fields that a class, or one that it extends, describes: in its docstring, or after them."""
    found: set[str] = set()
    for base in kind.__mro__:
        if dataclasses.is_dataclass(base):
            text = inspect.cleandoc(base.__doc__ or "")
            found |= set(re.findall(r"^\s*(\w+)(?: \(.*\))?:", text, re.MULTILINE))
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
            assert isinstance(body, ast.ClassDef)
            for field, after in itertools.pairwise(body.body):
                named = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
                if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                    found.add(field.target.id)  # type: ignore[attr-defined]
    return found


def check_priors(plugin: Plugin) -> None:
    """Shipped priors of a registered plugin load and say where they come from."""
    for name in plugin.priors if plugins().get(plugin.name) is plugin else ():
        subject = part(plugin, "priors", name)
        prior = Prior.load(name, plugin=plugin.name)
        names = prior.backbone.split("+") if isinstance(prior, TokenPrior) else [prior.backbone]
        declared = all(backbone in plugin.backbones for backbone in names)
        require(declared, subject, "its backbone is declared", prior.backbone)
        if isinstance(prior, TokenPrior):
            name = getattr(prior.codec, "name", "")
            require(name in plugin.codecs, subject, "its codec is declared", str(name))
            check_codec(prior.codec, subject)
        for key in ("name", "licence", "data"):
            require(key in prior.card, subject, f"its card has '{key}'", ", ".join(prior.card))


def check_codec(codec: Any, subject: object) -> None:
    """What every codec of tokens has, and that what it writes it reads again."""
    for part_name in ("encode", "decode", "to_signal", "to_dict"):
        require(callable(getattr(codec, part_name, None)), subject, f"its codec has {part_name}")
    ids = torch.arange(min(codec.tokens, 8))
    signal = codec.to_signal(codec.decode(ids))
    require(isinstance(signal, Signal), subject, "to_signal returns a Signal")


def follow_tokens(task: TokenTask, signal: Signal, prior: Prior | None) -> None:
    """Clean signal → damaged signal → evidence on tokens → result."""
    require(isinstance(prior, TokenPrior), task, "a task on tokens is followed with a prior")
    assert isinstance(prior, TokenPrior)
    damaged = task.degrade(signal, seed=0)
    require(isinstance(damaged, Signal), task, "degrade returns a Signal")
    again = task.degrade(signal, seed=0)
    require(torch.equal(damaged.data, again.data), task, "degrade depends on its seed only")
    task.check(damaged)
    posed = task.pose(damaged, prior)
    require(bool(posed.parts), task, "degrade leaves something open")
    for one in posed.parts:
        denoiser = one.denoiser or prior.denoiser
        law = "sites are ln p(y_i | x_i = v), one column a token"
        require(one.sites.shape[-1] == denoiser.process.tokens, task, law, f"{one.sites.shape}")
        possible = (one.sites > -torch.inf).any(dim=-1)
        require(bool(possible.all()), task, "every place allows some token")
    two = reconstruct(prior, task, damaged, n=2, seed=1)
    three = reconstruct(prior, task, damaged, n=3, seed=1)
    same = all(torch.equal(a, b) for a, b in zip(two.samples, three.samples, strict=False))
    require(same, task, "a sample depends on its seed and number only")
    for what, values in (("confidence", two.confidence), ("altered", two.altered)):
        size = f"{len(values)} for {len(two.estimate)}"
        law = f"{what} has a value for every element"
        require(len(values) == len(two.estimate), task, law, size)
    inside = bool(((two.confidence >= 0) & (two.confidence <= 1 + 1e-9)).all())
    require(inside, task, "confidences are probabilities")


def follow(task: Task, signal: Signal, tolerance: float | None) -> None:
    """Clean signal → damaged signal → operator and measurement → result."""
    damaged = task.degrade(signal, seed=0)
    require(isinstance(damaged, Signal), task, "degrade returns a Signal")
    again = task.degrade(signal, seed=0)
    require(torch.equal(damaged.data, again.data), task, "degrade depends on its seed only")
    bound = task.bind(damaged)
    require(bound.y.shape[0] == 1, task, "y has a batch axis of one", f"{list(bound.y.shape)}")
    shape = bound.operator.data_shape(tuple(bound.y.shape))
    law = "bind(degrade(x)) has an operator for x"
    require(tuple(shape[1:]) == tuple(signal.data.shape), task, law, f"{list(shape[1:])}")
    x = torch.stack([signal.data, signal.data.flip(-1)])
    check_operator(bound.operator, x, tolerance=tolerance)
    done = bound.finish(signal.data)
    require(done.shape == signal.data.shape, task, "finish keeps the shape", f"{list(done.shape)}")
    for piece in bound.parts:
        local = piece.operator.data_shape(tuple(piece.y.shape))[1:]
        region = signal.data[piece.place].shape
        law = "a part's operator fits the place it belongs to"
        require(tuple(local) == tuple(region), task, law, f"{list(local)} in {list(region)}")
