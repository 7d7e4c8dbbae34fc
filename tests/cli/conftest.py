"""A plugin and a prior that the tests of the command line write, and how to read its answers."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from sfumato import registry
from sfumato.cli import main
from sfumato.priors import Prior

PLUGIN = """
from sfumato.plugin import Plugin

PLUGIN = Plugin(
    name="tiny",
    summary="Arrays of numbers.",
    install="tiny-domain",
    formats={"npy": "tiny_domain.parts:Npy"},
    operators={"hide": "tiny_domain.parts:Hide", "weigh": "tiny_domain.parts:Weigh"},
    backbones={"unet": "sfumato.networks.unet:UNet"},
    priors={"small": "tiny_domain:weights"},
    datasets={"folder": "tiny_domain.parts:Folder"},
    metrics={"mse": "tiny_domain.parts:mse"},
    baselines={"pinv": "tiny_domain.parts:pinv"},
    demo="tiny_domain.parts:demo",
)
"""

PARTS = '''
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch

from sfumato.errors import InvalidOptionError, UnreadableFileError
from sfumato.inverse.likelihoods import Gaussian
from sfumato.inverse.operators import Linear
from sfumato.inverse.tasks import Bound, Task
from sfumato.signals import Signal


class Npy:
    suffixes = (".npy",)

    def read(self, path):
        try:
            return Signal(torch.from_numpy(np.load(path)).float(), path=path)
        except (ValueError, EOFError) as error:
            raise UnreadableFileError(path, "it is no array") from error

    def write(self, signal, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, signal.data.numpy())
        return path


@dataclass(frozen=True, eq=False)
class Keep(Linear):
    mask: torch.Tensor
    likelihood: Gaussian

    def __call__(self, x):
        return self.mask.to(x) * x

    adjoint = __call__


@dataclass(frozen=True, eq=False)
class Hide(Task):
    """Hides elements.

    Args:
        noise: Standard deviation of the noise, or auto.
        share: Share of the rows that is hidden.
        pattern: Which rows: even or odd.
        mask: File with 1 where an element is seen.
    """

    summary: ClassVar[str] = "Fill in hidden elements."

    noise: float | Literal["auto"] = "auto"
    share: float = 0.5
    pattern: Literal["even", "odd"] = "even"
    mask: str | Path | None = None

    def __post_init__(self):
        if not 0 <= self.share <= 1:
            raise InvalidOptionError("hide", f"share={self.share}", "use a number from 0 to 1")

    def operator_for(self, signal):
        mask = torch.ones_like(signal.data)
        mask[..., (0 if self.pattern == "even" else 1)::2] = 0
        sigma = 0.1 if self.noise == "auto" else self.noise
        return Keep(mask, Gaussian(torch.tensor(sigma)))

    def bind(self, signal):
        return Bound(self.operator_for(signal), signal.data[None], signal, notes=("noted",))

    def degrade(self, signal, *, seed=0):
        return signal.with_data(self.operator_for(signal).measure(signal.data[None], seed=seed)[0])


@dataclass(frozen=True, eq=False)
class Weigh(Hide):
    """Weighs elements.

    Args:
        kernel: File of weights.
    """

    summary: ClassVar[str] = "Undo a weighing."

    kernel: str = None

    power: float = 1.0
    """Power of the weights."""

    table: torch.Tensor | None = None


class Folder:
    def __init__(self, path, *, crop=8):
        self.items = [np.load(name) for name in sorted(Path(path).glob("*.npy"))]
        if not self.items:
            raise UnreadableFileError(path, "it holds no array")
        self.crop = crop

    def __len__(self):
        return len(self.items)

    def item(self, index, generator):
        return torch.from_numpy(self.items[index]).float()[..., : self.crop, : self.crop]


def mse(estimate, reference):
    return (estimate - reference).square().flatten(1).mean(dim=1)


def pinv(operator, y):
    return operator.pinv(y)


def demo(folder, *, seed, progress):
    path = folder / "report.html"
    path.write_text(f"seed {seed}")
    return path
'''


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages with the plugin in it."""
    site = tmp_path_factory.mktemp("site")
    package, info = site / "tiny_domain", site / "tiny_domain-1.5.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text(PLUGIN)
    (package / "parts.py").write_text(PARTS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-domain\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text("[sfumato.plugins]\ntiny = tiny_domain:PLUGIN\n")
    return site


@pytest.fixture(scope="module", autouse=True)
def installed(site: Path) -> Iterator[None]:
    """The plugin, with a shipped, untrained prior of 1×8×8 arrays, while a module's tests run."""
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    registry.plugins.cache_clear()
    if not (site / "tiny_domain" / "weights").exists():
        options = {"channels": 1, "widths": [8], "blocks": [1], "fold": 2, "classes": 3}
        prior = Prior.new("tiny", "unet", shape=(1, 8, 8), options=options, card={"name": "small"})
        prior.save(site / "tiny_domain" / "weights")
    yield
    sys.path.remove(str(site))
    registry.plugins.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with two measurements and their truth."""
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    for name in ("a", "b"):
        x = 0.3 * torch.randn(1, 8, 8, generator=generator)
        (tmp_path / "truth").mkdir(exist_ok=True)
        np.save(tmp_path / "truth" / f"{name}.npy", x.numpy())
        (tmp_path / "scans").mkdir(exist_ok=True)
        x[..., ::2] = 0
        np.save(tmp_path / "scans" / f"{name}.npy", x.numpy())
    (tmp_path / "scans" / "notes.txt").write_text("not an array")
    return tmp_path


Answer = Callable[[], dict]
Failure = Callable[..., str]


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Answer:
    """Reads the one JSON object on standard output."""

    def read() -> dict:
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 1
        return json.loads(lines[0])

    return read


@pytest.fixture
def failure(capsys: pytest.CaptureFixture[str]) -> Failure:
    """Runs a command that must fail with exit code 2; returns its one line."""

    def run(*typed: str) -> str:
        assert main(list(typed)) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("sfumato: ")
        return lines[0]

    return run
