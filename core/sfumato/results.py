"""What a reconstruction returns: samples, their spread, and whether they fit the measurement.

χ² is the mean square of the residual in standard deviations of the noise. If x is a draw from the
true posterior, (x, y) is distributed as the true pair is, so the residual of a *sample* is
distributed as the noise: with m measured numbers, m χ² follows a χ² distribution with m degrees
of freedom. ``chi2_band`` is the interval that holds 99 % of it. A value above says that samples
contradict the measurement or the stated noise; a value below, that they follow the noise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from sfumato import files
from sfumato.errors import CheckpointError
from sfumato.registry import load_plugin
from sfumato.signals import Signal

__all__ = ["Result", "chi2_band"]


@dataclass(frozen=True, eq=False)
class Result:
    """Posterior samples and what can be said about them, in physical units.

    Args:
        samples: ``[n, *x]``; ``[items, n, *x]`` if the measurement was a batch of several items.
        measurement: y as it was used, ``[*y]`` (or ``[items, *y]``).
        chi2: Mean square residual of each sample in standard deviations of the noise, ``[n]`` (or
            ``[items, n]``); NaN where the measurement has no noise.
        residual: Root mean square of y − A x of each sample, in units of y.
        chi2_band: Interval that holds 99 % of χ² for true posterior samples.
        null_share: Share of the energy of the samples that the measurement says nothing about and
            that therefore comes from the prior; NaN for nonlinear operators.
        nfe: Network evaluations per sample.
        vjp: Backward passes through the network per sample.
        seconds: Wall time.
        record: What was run: solver, options, seed, versions, hashes, notes.
        trace: One row per step of the first batch: level and residual.
        fitted: A(mean), to compare with the measurement; ``None`` where it was cut into parts.
        expectation: Posterior mean as the solver read it off on its way, with less chance in it
            than the samples' average (``sfumato.expectations``), shaped like one sample (or
            ``[items, *x]``); ``None`` leaves the mean to the samples.
        expectation_error: Standard error of each of its elements, if it is known.
        signal: The input, whose header the outputs take; ``None`` for tensors.
        rank: Axes of one x.
    """

    samples: Float[Tensor, "*items n *x"]
    measurement: Tensor
    chi2: Tensor
    residual: Tensor
    chi2_band: tuple[float, float]
    null_share: float
    nfe: float
    vjp: float
    seconds: float
    record: Mapping[str, Any] = field(default_factory=dict)
    trace: tuple[Mapping[str, float], ...] = ()
    fitted: Tensor | None = None
    expectation: Tensor | None = None
    expectation_error: Tensor | None = None
    signal: Signal | None = None
    rank: int = 3

    @property
    def axis(self) -> int:
        """The axis of the samples."""
        return self.samples.ndim - self.rank - 1

    @property
    def n(self) -> int:
        """Samples per item."""
        return self.samples.shape[self.axis]

    @property
    def mean(self) -> Tensor:
        """Posterior mean: the estimate with the smallest expected square error.

        What the solver read off on its way, where it did; else the samples' average. Elements on
        which all samples agree keep their value to the last bit.
        """
        if self.expectation is not None:
            return self.expectation
        return self.average

    @property
    def average(self) -> Tensor:
        """Average of the samples."""
        first = self.samples.select(self.axis, 0)
        return first + (self.samples - first.unsqueeze(self.axis)).mean(dim=self.axis)

    @property
    def std(self) -> Tensor:
        """Posterior standard deviation of each element (0 if there is one sample)."""
        if self.n == 1:
            return torch.zeros_like(self.samples.select(self.axis, 0))
        return self.samples.std(dim=self.axis)

    def quantile(self, q: float) -> Tensor:
        """Quantile ``q`` of the samples, element by element."""
        rank = q * (self.n - 1)
        low, high = math.floor(rank), math.ceil(rank)
        ordered = self.samples.sort(dim=self.axis).values
        pair = [ordered.select(self.axis, i) for i in (low, high)]
        return torch.lerp(pair[0], pair[1], rank - low)

    def interval(self, coverage: float = 0.9) -> tuple[Tensor, Tensor]:
        """Central interval that should hold the truth in a share ``coverage`` of the elements.

        Built as mean ± a quantile of Student's t, which allows for the few samples: truth − mean
        has the posterior's variance and that of the mean itself, 1/n of it for the average of n
        draws, and the standard deviation is estimated from n − 1 degrees of freedom.
        """
        own = self.std.square() / self.n
        if self.expectation_error is not None:
            own = torch.minimum(own, self.expectation_error.square())
        half = student_t(0.5 + coverage / 2, self.n - 1) * (self.std.square() + own).sqrt()
        return self.mean - half, self.mean + half

    @property
    def consistent(self) -> bool | None:
        """Whether the mean χ² lies in the accepted band; ``None`` without noise."""
        value = self.chi2.mean().item()
        return None if math.isnan(value) else self.chi2_band[0] <= value <= self.chi2_band[1]

    def __repr__(self) -> str:
        size = "×".join(str(k) for k in self.samples.shape[self.axis + 1 :])
        chi2 = self.chi2.mean().item()
        fit = f"residual {self.residual.mean():.2g}" if math.isnan(chi2) else f"χ² {chi2:.2f}"
        return (
            f"Result({self.n} samples of {size}, {fit}, "
            f"{self.nfe:g} evaluations, {self.seconds:.1f} s)"
        )

    def summary(self) -> dict[str, Any]:
        """The numbers, as JSON values."""
        chi2 = self.chi2.mean().item()
        return {
            "samples": self.n,
            "shape": list(self.samples.shape[self.axis + 1 :]),
            "chi2": None if math.isnan(chi2) else round(chi2, 4),
            "chi2_band": [round(v, 4) for v in self.chi2_band],
            "consistent": self.consistent,
            "residual": self.residual.mean().item(),
            "null_share": None if math.isnan(self.null_share) else round(self.null_share, 4),
            "mean_std": self.std.mean().item(),
            "nfe": self.nfe,
            "vjp": self.vjp,
            "seconds": round(self.seconds, 2),
            **dict(self.record),
        }

    def save(
        self, folder: str | Path, *, overwrite: bool = False, reference: Signal | None = None
    ) -> Path:
        """Writes the domain's own files, ``run.json`` and a self-contained ``report.html``.

        ``restored.*`` is the posterior mean, ``std.*`` the standard deviation, ``samples/`` holds
        each sample, and ``result.safetensors`` everything that ``Result.load`` needs.

        Raises:
            OutputExistsError: If the folder is in use and ``overwrite`` is false.
        """
        from sfumato.evaluation.report import Section, write_report

        with files.atomic_folder(folder, overwrite=overwrite) as target:
            tensors = {
                "samples": self.samples, "measurement": self.measurement,
                "chi2": self.chi2, "residual": self.residual,
            }  # fmt: skip
            for name in OPTIONAL:
                if getattr(self, name) is not None:
                    tensors[name] = getattr(self, name)
            save_file(
                {k: v.contiguous().cpu() for k, v in tensors.items()}, target / "result.safetensors"
            )
            facts = {**self.summary(), "trace": [dict(row) for row in self.trace]}
            text = json.dumps({**facts, "rank": self.rank}, indent=2, ensure_ascii=False)
            (target / "run.json").write_text(text + "\n", encoding="utf-8")
            self.write_signals(target)
            section = Section.from_result(self, reference=reference)
            write_report(target / "report.html", [section], record=dict(self.record))
        return Path(folder)

    def write_signals(self, folder: Path) -> None:
        """Writes mean, standard deviation and samples in the input's own format."""
        if self.signal is None or self.axis != 0 or not self.record.get("plugin"):
            return
        plugin = load_plugin(self.record["plugin"])
        suffix = self.signal.path.suffix if self.signal.path is not None else ""
        if not suffix:
            suffix = plugin.part("formats", next(iter(plugin.formats)))().suffixes[0]
        plugin.write(self.signal.with_data(self.mean), folder / f"restored{suffix}")
        plugin.write(self.signal.with_data(self.std), folder / f"std{suffix}")
        for index, sample in enumerate(self.samples):
            plugin.write(self.signal.with_data(sample), folder / "samples" / f"{index:03d}{suffix}")

    @classmethod
    def load(cls, folder: str | Path) -> Result:
        """Reads what ``save`` wrote.

        Raises:
            CheckpointError: If a file is missing or damaged.
        """
        source = Path(folder)
        try:
            facts = json.loads((source / "run.json").read_text(encoding="utf-8"))
            tensors = load_file(source / "result.safetensors")
            return cls(
                **{name: tensors[name] for name in ("samples", "measurement", "chi2", "residual")},
                chi2_band=tuple(facts.pop("chi2_band")),
                null_share=float("nan") if facts["null_share"] is None else facts["null_share"],
                nfe=facts.pop("nfe"),
                vjp=facts.pop("vjp"),
                seconds=facts.pop("seconds"),
                rank=facts.pop("rank"),
                trace=tuple(facts.pop("trace")),
                **{name: tensors.get(name) for name in OPTIONAL},
                record={k: v for k, v in facts.items() if k not in DERIVED},
            )
        except Exception as error:
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise CheckpointError(source, f"not a result folder, or damaged ({why})") from error


OPTIONAL = ("fitted", "expectation", "expectation_error")
DERIVED = {"samples", "shape", "chi2", "consistent", "residual", "null_share", "mean_std"}


def chi2_band(count: int, coverage: float = 0.99) -> tuple[float, float]:
    """Central interval of χ²_m/m by the cube-root approximation (Wilson & Hilferty, 1931)."""
    z = normal_quantile(0.5 + coverage / 2)
    spread = 2 / (9 * max(count, 1))
    low, high = ((1 - spread + sign * z * math.sqrt(spread)) ** 3 for sign in (-1, 1))
    return max(low, 0.0), high


def normal_quantile(p: float) -> float:
    """Φ⁻¹(p)."""
    return math.sqrt(2) * float(torch.erfinv(torch.tensor(2 * p - 1, dtype=torch.float64)))


def student_t(p: float, freedom: int) -> float:
    """Quantile of Student's t, by bisection of its distribution function."""
    if freedom < 1:
        return math.inf
    cdf = student_cdf(freedom)
    low, high = 0.0, 1e4
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if cdf(middle) < p else (low, middle)
    return high


def student_cdf(freedom: int) -> Callable[[float], float]:
    """F(t) for integer degrees of freedom (Abramowitz & Stegun 26.7.3–4)."""

    def cdf(t: float) -> float:
        theta = math.atan(t / math.sqrt(freedom))
        cosine, total, term = math.cos(theta), 0.0, 1.0
        if freedom % 2:
            term = cosine
            for k in range(3, freedom + 1, 2):
                total += term
                term *= cosine**2 * (k - 1) / k
            share = 2 / math.pi * (theta + math.sin(theta) * total)
        else:
            for k in range(2, freedom + 1, 2):
                total += term
                term *= cosine**2 * (k - 1) / k
            share = math.sin(theta) * total
        return (1 + share) / 2

    return cdf
