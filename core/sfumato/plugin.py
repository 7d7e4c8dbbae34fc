"""What a plugin declares.

A plugin brings a domain: files, operators, networks, a small default prior, metrics. It declares
them in one frozen ``Plugin`` behind the entry-point group ``sfumato.plugins``:

    [project.entry-points."sfumato.plugins"]
    seismic = "my_seismic:PLUGIN"

Parts are ``"module:attribute"`` strings, resolved on first use, so that listing plugins imports
nothing heavy.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sfumato.errors import (
    InvalidOptionError,
    MissingDependencyError,
    PluginError,
    UnknownNameError,
    UnreadableFileError,
)

if TYPE_CHECKING:
    from sfumato.inverse.tasks import Task
    from sfumato.priors import Prior
    from sfumato.signals import Format, Signal

__all__ = ["Plugin"]


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """The declaration of a domain.

    Args:
        name: What people type: ``sfumato reconstruct NAME ...``.
        summary: One line for the list of plugins.
        install: What to put after ``pip install`` when a dependency is missing.
        requires: Modules that must be importable.
        formats: Name → ``Format`` (see ``sfumato.signals``).
        operators: Name → ``Task`` (see ``sfumato.inverse.tasks``).
        backbones: Name → network class, called with the options stored in a prior.
        priors: Name → folder of a shipped prior, as ``"package:relative/folder"``. The first one
            is the default.
        datasets: Name → data set class for fine-tuning. The first one is the default. For a prior
            over tokens it is given the prior's codec as ``codec``.
        codecs: Name → ``(values) -> codec`` for priors over tokens, such as a tokeniser, from what
            the codec's own ``to_dict`` returned. A codec has ``name``, ``tokens``, ``encode``,
            ``decode``, ``to_signal`` and ``to_dict``.
        metrics: Name → ``(estimate, reference) -> Tensor``, one value per item.
        baselines: Name → classical method to compare with, ``(operator, y) -> x``.
        converters: Name → ``(path) -> Prior`` and ``"to_" + name`` → ``(prior, path)``.
        pictures: ``(Signal) -> PIL image``; how a report shows one item. Empty for none.
        words: ``(data) -> str``; how one reading is shown in a line. Empty for none.
        passages: ``(TokenResult) -> passages``; how a report shows a restored text (see
            ``sfumato.evaluation.passages``). Empty for none.
        equal_channels: Whether data of one channel may be taken for data of several that are all
            equal, as a grey picture for a coloured one, and so be given to a prior of these.
        demo: ``(folder, *, seed, progress) -> Path`` of the report. Empty for none.
    """

    name: str
    summary: str
    install: str
    requires: tuple[str, ...] = ()
    formats: Mapping[str, str] = field(default_factory=dict)
    operators: Mapping[str, str] = field(default_factory=dict)
    backbones: Mapping[str, str] = field(default_factory=dict)
    priors: Mapping[str, str] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)
    codecs: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    baselines: Mapping[str, str] = field(default_factory=dict)
    converters: Mapping[str, str] = field(default_factory=dict)
    pictures: str = ""
    words: str = ""
    passages: str = ""
    equal_channels: bool = False
    demo: str = ""

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Mapping):
                for name, reference in value.items():
                    if ":" not in reference:
                        raise PluginError(
                            f"plugin '{self.name}': {entry.name}['{name}'] is '{reference}', "
                            "expected 'module:attribute'."
                        )
                object.__setattr__(self, entry.name, MappingProxyType(dict(value)))

    @property
    def missing(self) -> tuple[str, ...]:
        """Required modules that are not installed; found without importing them."""
        return tuple(name for name in self.requires if not is_installed(name))

    def part(self, table: str, name: str) -> Any:
        """Imports and returns one declared part, such as ``part("operators", "inpaint")``.

        Raises:
            UnknownNameError: If the table has no such name.
            MissingDependencyError: If a required module is not installed.
            PluginError: If the reference does not resolve.
        """
        entries: Mapping[str, str] = getattr(self, table)
        if name not in entries:
            raise UnknownNameError(f"{self.name} {table.removesuffix('s')}", name, entries)
        return self.resolve(entries[name])

    def resolve(self, reference: str) -> Any:
        """Imports ``"module:attribute"``."""
        if self.missing:
            raise MissingDependencyError(f"plugin '{self.name}'", self.missing, self.install)
        module, _, attribute = reference.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise PluginError(f"plugin '{self.name}': '{reference}' fails: {error}") from error

    def operator(self, name: str, **options: Any) -> Task:
        """Returns the operator ``name`` with its options, such as ``mask="scratches.png"``."""
        kind = self.part("operators", name)
        known = {entry.name for entry in fields(kind)}
        for option in options:
            if option not in known:
                raise UnknownNameError(f"option of {self.name} {name}", option, known)
        try:
            task: Task = kind(**options)
        except TypeError as error:  # a required option left out
            missing = str(error).rpartition(": ")[2].strip()
            raise InvalidOptionError(
                f"{self.name} {name}", f"{missing} is missing", "give it a value"
            ) from error
        return task

    def format(self, path: str | Path, **options: Any) -> Format:
        """Returns the format that reads and writes ``path``, by suffix, with its options.

        Raises:
            UnreadableFileError: If no format has the suffix.
            UnknownNameError: If the format has no such option.
        """
        suffix = Path(path).suffix.lower()
        formats: list[Format] = [self.part("formats", name)() for name in self.formats]
        for candidate in formats:
            if suffix not in candidate.suffixes:
                continue
            if not options:
                return candidate
            parts: tuple[Field[Any], ...] = ()
            if is_dataclass(candidate):
                parts = fields(candidate)
            able = {entry.name for entry in parts}
            for option in options:
                if option not in able:
                    raise UnknownNameError(f"option of '{suffix}' files", option, able)
            made: Format = type(candidate)(**options)
            return made
        known = sorted(s for candidate in formats for s in candidate.suffixes)
        raise UnreadableFileError(
            path, f"no {self.name} format has suffix '{suffix}'", f"known: {', '.join(known)}"
        )

    def read(self, path: str | Path, **options: Any) -> Signal:
        """Reads one file.

        Args:
            path: The file.
            options: Of its format, such as ``encoding="latin-1"``.

        Raises:
            UnreadableFileError: If it is missing, damaged or of an unknown kind.
            UnknownNameError: If its format has no such option.
        """
        if not Path(path).is_file():
            why = "it is a folder" if Path(path).is_dir() else "there is no such file"
            raise UnreadableFileError(path, why)
        return self.format(path, **options).read(Path(path))

    def write(self, signal: Signal, path: str | Path) -> Path:
        """Writes one file, atomically, in the format its suffix names."""
        return self.format(path).write(signal, Path(path))

    def prior(self, name: str | None = None) -> Prior:
        """Loads a shipped prior; the default one if no name is given."""
        from sfumato.priors import Prior

        return Prior.load(name or next(iter(self.priors), ""), plugin=self.name)

    def dataset(self, path: str | Path, name: str | None = None, **options: Any) -> Any:
        """Opens files as training data with the plugin's (default) data set class."""
        return self.part("datasets", name or next(iter(self.datasets), ""))(path, **options)


def is_installed(module: str) -> bool:
    """Whether ``module`` can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
