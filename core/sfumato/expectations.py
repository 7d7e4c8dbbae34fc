"""The posterior mean, read off while samples are drawn.

The posterior mean is the mean over x_t given y of what a posterior's denoiser returns,

    E[x₀ | y] = E[ E[x₀ | x_t, y] ],

at every level t. Averaged over n samples, the right-hand side misses what x₀ still varies given
x_t, so it is nearer to the left than the samples' own average (Rao–Blackwell): at high noise hardly
anything is left to chance. But there a guide's approximation is worst. Which levels to trust shows
in the samples. If the estimates of a level are right, their mean M and the average A of the samples
differ by no more than A's own error,

    mean (M − A)² ≤ V/n,        V the samples' variance,

so the levels that agree to within ``AGREES`` of that are averaged, and the others are left out.

A pilot is an estimate P that depends on y alone. It has a bias B and no chance in it, so

    E (P − A)² = B² + V/n,        w = (V/n) / max(mean (P − A)², V/n)

says how far to go from the average to it for the least square error (James & Stein, 1961; here with
V from the samples and without a factor that is 1 for many elements): all the way if the two differ
by no more than chance, hardly if the pilot is off or n is large. Where levels agree, the way starts
at their mean.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["AGREES", "Expectation"]

AGREES = 1.2
"""mean (M − A)² in units of V/n up to which a level counts; V is itself an estimate."""


class Expectation:
    """Collects the estimates of some steps, sample by sample.

    Args:
        items: Items of the batch.
        n: Samples of each; sample j of item i is row i · n + j.
        exact: Whether the estimates are right at every level, so that none is left out.
    """

    def __init__(self, items: int, n: int, *, exact: bool) -> None:
        self.items, self.n, self.exact = items, n, exact
        self.found: dict[int, dict[int, tuple[int, Tensor, Tensor | None]]] = {}

    def add(self, low: int, step: int, means: Tensor) -> None:
        """Takes the estimates that step number ``step`` made of the samples from row ``low`` on."""
        for row, value in enumerate(means, start=low):
            steps = self.found.setdefault(row // self.n, {})
            if step not in steps:
                steps[step] = 1, value.clone(), torch.zeros_like(value) if self.exact else None
                continue
            count, mean, scatter = steps[step]
            apart = value - mean  # Welford (1962): equal values keep their last bit
            mean = mean + apart / (count + 1)
            scatter = None if scatter is None else scatter + apart * (value - mean)
            steps[step] = count + 1, mean, scatter

    def mean(
        self, samples: Tensor, pilots: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Posterior mean of each item and, where it is known, its standard error.

        Args:
            samples: All rows, ``[items · n, *x]``.
            pilots: A pilot for each item, ``[items, *x]``, for n > 1 and estimates that are not
                exact.

        Returns:
            ``[items, *x]`` twice; ``None`` where nothing was read off, and for the error of a mean
            over several levels, which are not independent.
        """
        if self.n == 1 and not self.exact:
            return None, None
        if len(self.found) < self.items and pilots is None:
            return None, None
        if self.exact and all(len(steps) == 1 for steps in self.found.values()):
            rows = [next(iter(self.found[item].values())) for item in range(self.items)]
            scatter = torch.stack([row[2] for row in rows if row[2] is not None])
            error = scatter.clamp(min=0) / (self.n * max(self.n - 1, 1))
            return torch.stack([row[1] for row in rows]), error.sqrt()
        drawn = samples.reshape(self.items, self.n, *samples.shape[1:])
        means = [self.agreeing(item, x) for item, x in enumerate(drawn)]
        if pilots is not None:
            means = [towards(*parts) for parts in zip(means, drawn, pilots, strict=True)]
        return torch.stack(means), None

    def agreeing(self, item: int, drawn: Tensor) -> Tensor:
        """The mean over the levels that agree with the samples; theirs if none does."""
        average = middle(drawn)
        means = [mean for _, mean, _ in self.found.get(item, {}).values()]
        if self.exact:
            return torch.stack(means).mean(dim=0)
        bound = AGREES * drawn.var(dim=0).mean() / self.n
        kept = [mean for mean in means if (mean - average).abs().square().mean() <= bound]
        if not kept:
            return average
        return average + torch.stack([mean - average for mean in kept]).mean(dim=0)


def middle(drawn: Tensor) -> Tensor:
    """The average of samples; equal values keep their last bit."""
    return drawn[0] + (drawn - drawn[0]).mean(dim=0)


def towards(mean: Tensor, drawn: Tensor, pilot: Tensor) -> Tensor:
    """The mean, moved to the pilot as far as the samples bear it out."""
    spread = drawn.var(dim=0)
    chance = spread.mean() / len(drawn)
    apart = (pilot - middle(drawn)).abs().square().mean()
    share = chance / torch.maximum(apart, chance).clamp(min=torch.finfo(chance.dtype).tiny)
    return torch.where(spread == 0, mean, mean + share * (pilot - mean))
