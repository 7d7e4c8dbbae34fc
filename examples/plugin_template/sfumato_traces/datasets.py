"""Training data: a folder of traces, and a generator of synthetic ones.

Layered ground reflects at few depths. A synthetic trace has a spike of Laplace-distributed height
with probability 0.08 at each sample, and a little noise so that its density exists.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.priors import Prior
from sfumato.signals import Signal
from sfumato_traces.formats import Trace

__all__ = ["Traces", "synthetic"]


class Traces:
    """All trace files of a folder; each item is a random stretch of one.

    Args:
        path: The folder.
        length: Samples of a stretch; shorter traces are an error.
    """

    def __init__(self, path: str | Path, *, length: int = 128) -> None:
        files = sorted(Path(path).glob("*.trace"))
        if not files:
            raise InvalidOptionError("traces", f"'{path}' holds no .trace file", "choose another")
        self.length = length
        self.traces = [Trace().read(file).data for file in files]
        self.card = {"source": "trace files", "count": len(files)}
        for file, trace in zip(files, self.traces, strict=True):
            if trace.shape[1] < length:
                raise InvalidOptionError(
                    "traces", f"'{file}' has {trace.shape[1]} samples", "use a smaller length"
                )

    def __len__(self) -> int:
        return len(self.traces)

    def item(self, index: int, generator: torch.Generator) -> Tensor:
        """A stretch of trace ``index``, chosen by ``generator``."""
        trace = self.traces[index]
        last = trace.shape[1] - self.length
        start = int(torch.randint(last + 1, (), generator=generator))
        return trace[:, start : start + self.length]


def synthetic(seed: int, *, length: int = 128) -> Signal:
    """One reflectivity trace, ``[1, length]``."""
    generator = torch.Generator().manual_seed(seed)
    u, sign, floor = torch.rand(3, length, generator=generator).unbind()
    spikes = torch.where(u < 0.08, torch.log(u / 0.08) * (sign - 0.5).sign() * 0.3, 0.0)
    return Signal((spikes + 0.02 * (floor - 0.5))[None], {"interval_s": 0.002})


def fresh() -> Prior:
    """An untrained prior for traces of any length."""
    options = {"channels": 1, "widths": (32, 48), "blocks": (1, 1), "dimensions": 1}
    return Prior.new("traces", "unet", shape=(1, None), spread=0.2, options=options)


def main() -> None:
    """Writes 256 synthetic traces, and an untrained prior if asked."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prior", type=Path, help="folder of an untrained prior to write")
    given = parser.parse_args()
    for index in range(256):
        Trace().write(synthetic(index), given.folder / f"{index:03d}.trace")
    if given.prior is not None:
        fresh().save(given.prior)


if __name__ == "__main__":
    main()
