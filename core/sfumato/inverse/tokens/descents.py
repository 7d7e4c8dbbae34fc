"""Showing place after place to a cloud of particles: the loop of twisted Monte Carlo.

See ``sfumato.inverse.tokens.twisted`` for what it computes. One particle of each item may be
pinned to a state that is given; then one draw from the weighted particles leaves the posterior as
it is, however few they are (conditional sequential Monte Carlo; Andrieu et al., 2010).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato import draws
from sfumato.inverse.particles import reweigh
from sfumato.inverse.problems import Callback
from sfumato.inverse.tokens.clouds import Cloud
from sfumato.inverse.tokens.evidence import blame
from sfumato.inverse.tokens.outlooks import Outlook
from sfumato.inverse.tokens.problems import TokenProblem
from sfumato.inverse.tokens.rows import Rows, alike, certain, ranks
from sfumato.noise import Streams
from sfumato.samplers.base import Step

__all__ = ["Descent", "descend", "doubt", "surest"]


def descend(
    problem: TokenProblem,
    count: int,
    streams: Streams,
    *,
    order: str = "random",
    steps: int | None = None,
    looks: bool = False,
    threshold: float = 0.5,
    score_known: bool = False,
    callback: Callback | None = None,
) -> Cloud:
    """Shows all unknown places to ``count`` particles of each item.

    Args:
        problem: What ``ready`` has looked at; its process hides tokens.
        count: Particles per item. One follows the tilted beliefs.
        streams: One stream per item.
        order: See ``Descent``.
        steps: Rounds at most; one place per round if not given.
        looks: See ``Descent``.
        threshold: See ``Descent``.
        score_known: Whether known places are shown in rounds too, before all others.
        callback: Called after every round, with the particles as the batch.
    """
    when = turns(problem, streams, steps, score_known=score_known)
    groups = alike(when.flatten(1).amax(dim=1))
    with torch.no_grad():
        return Cloud.joined(
            [
                Descent(problem, index, when[index], count, order, looks, threshold).walk(
                    streams.select(index), callback=callback
                )
                for index in groups
            ],
            groups,
        )


def turns(
    problem: TokenProblem, streams: Streams, steps: int | None, *, score_known: bool
) -> Int[Tensor, "items *x"]:
    """The round in which each place is shown, in random order; −1 for those that are given."""
    rows = Rows(problem)
    rank = ranks(rows.hidden, streams)
    if score_known:
        first = rows.real & ~rows.hidden
        before = first.flatten(1).cumsum(dim=1).reshape(first.shape) - 1
        known = first.flatten(1).sum(dim=1).reshape(-1, *(1,) * (rank.ndim - 1))
        rank = torch.where(first, before, torch.where(rows.hidden, rank + known, rank))
    if steps is None:
        return rank
    left = (rank.flatten(1).amax(dim=1) + 1).reshape(-1, *(1,) * (rank.ndim - 1))
    return torch.where(rank < 0, rank, rank * left.clamp(max=steps) // left.clamp(min=1))


@dataclass(frozen=True, eq=False)
class Descent:
    """A run of items that need equally many rounds.

    Args:
        whole: The problem that ``ready`` has looked at.
        index: Which of its items.
        turns: The round in which each place is shown; −1 for places that are shown from the start.
        count: Particles per item.
        order: ``"random"`` takes the turns as they are, ``"sure"`` only how many a round has.
        looks: Whether the expert is asked about completions on the way.
        threshold: Share of effective particles below which an item resamples.
    """

    whole: TokenProblem
    index: list[int]
    turns: Int[Tensor, "items *x"]
    count: int
    order: str = "random"
    looks: bool = False
    threshold: float = 0.5

    @cached_property
    def rows(self) -> Rows:
        """The particles' view of the problem."""
        return Rows(self.whole.select(self.index), self.count)

    @property
    def rounds(self) -> int:
        """How many rounds there are."""
        return int(self.turns.max()) + 1

    @property
    def shape(self) -> tuple[int, int]:
        """Items and particles."""
        return len(self.index), self.count

    @property
    def mask(self) -> int:
        """The state that means hidden."""
        return self.whole.denoiser.process.tokens

    def walk(
        self,
        streams: Streams,
        *,
        pinned: Int[Tensor, "items *x"] | None = None,
        callback: Callback | None = None,
    ) -> Cloud:
        """Shows all places.

        Args:
            streams: One stream per item.
            pinned: States of which the first particle takes its tokens, and the others those that
                are shown from the start; then nobody is resampled.
            callback: Called after every round, with the particles as the batch.

        Raises:
            ImpossibleError: If all particles of an item have weight 0.
        """
        rows, shape = self.rows, self.shape
        shown = rows.given if pinned is None else pinned
        x = rows.repeated(torch.where(self.turns < 0, shown, self.mask))
        view = rows.outlook(x)
        log_w = view.log_partition.reshape(shape) - math.log(self.count)
        evidence = torch.zeros_like(log_w[:, 0])
        fewest, worth = evidence + self.count, torch.zeros_like(log_w)
        for step in range(self.rounds):
            self.check(log_w, view)
            log_w, evidence, fewest, chosen = reweigh(
                log_w, evidence, fewest, self.threshold, streams if pinned is None else None
            )
            x, view, worth = x[chosen], view.select(chosen), worth.flatten()[chosen].reshape(shape)
            now, guess = self.draw(x, view, log_w, step, streams, pinned)
            x = torch.where(now, guess, x)
            expected = held(view, rows, x)
            view = rows.outlook(x)
            gain = (view.log_partition - expected).reshape(shape)
            ahead = self.worth(torch.where(x == self.mask, guess, x), step)
            log_w = (log_w + gain + ahead - worth).nan_to_num(nan=-torch.inf, neginf=-torch.inf)
            worth = ahead
            if callback is not None:
                callback(Step(step, self.rounds, None, x, view))
        if self.rounds == 0:
            log_w = log_w + self.worth(x, -1)
        self.check(log_w, view)
        log_w, evidence, fewest, _ = reweigh(log_w, evidence, fewest, self.threshold, None)
        return Cloud(rows.apart(x), log_w, evidence, fewest, self.mask)

    def check(self, log_w: Float[Tensor, "items particles"], view: Outlook) -> None:
        """Blames the evidence of an item that has no particle left."""
        dead = torch.isinf(log_w).all(dim=1)
        if bool(dead.any()):
            item = int(dead.nonzero()[0])
            blame(self.whole, self.index[item], self.rows.apart(view.log_q)[item])

    def draw(
        self,
        x: Int[Tensor, "rows *x"],
        view: Outlook,
        log_w: Float[Tensor, "items particles"],
        step: int,
        streams: Streams,
        pinned: Int[Tensor, "items *x"] | None,
    ) -> tuple[Bool[Tensor, "rows *x"], Int[Tensor, "rows *x"]]:
        """Whose turn it is, the same places for all particles of an item; and tokens for them."""
        now, hidden = self.turns == step, x == self.mask
        if self.order == "sure":
            free = self.rows.apart(hidden)[:, 0]
            # known tokens come first
            entropy = torch.where(self.rows.hidden, doubt(view, log_w), -1.0)
            now = surest(entropy, free, now.flatten(1).sum(dim=1))
        wanted = self.rows.repeated(now)
        if pinned is None:
            u = self.rows.spread(x, streams)
        else:
            u = draws.uniform(self.rows.apart(x), streams).flatten(0, 1)
        guess = view.draw(u, hidden if self.looks else wanted)
        if pinned is not None:
            guess = self.rows.apart(guess).clone()
            guess[:, 0] = pinned
            guess = guess.flatten(0, 1)
        return wanted, guess

    def worth(self, x: Int[Tensor, "rows *x"], step: int) -> Float[Tensor, "items particles"]:
        """ln of what the expert says of the particles as they are, or may become."""
        expert, last = self.whole.expert, step == self.rounds - 1
        if expert is None or not (last or self.looks):
            return torch.zeros(self.shape, dtype=torch.float64, device=x.device)
        value = expert(x).double().reshape(self.shape)
        if last:
            return value
        worst = torch.where(torch.isfinite(value), value, torch.inf).amin(dim=1, keepdim=True)
        return torch.where(torch.isfinite(value), value, worst.nan_to_num(posinf=0.0))


def held(view: Outlook, rows: Rows, x: Int[Tensor, "rows *x"]) -> Float[Tensor, " rows"]:
    """ln Z of the same beliefs with the places that ``x`` shows fixed."""
    tokens = rows.problem.denoiser.process.tokens
    fixed = certain(x, tokens) + rows.sites
    log_q = torch.where((x < tokens).unsqueeze(-1), fixed, view.log_q)
    return Outlook.of(log_q, rows.problem.machine).log_partition


def doubt(view: Outlook, log_w: Float[Tensor, "items many"]) -> Float[Tensor, "items *x"]:
    """Entropy of each place, in the weighted mean over the rows of an item."""
    entropy = torch.special.entr(view.marginals.exp()).sum(dim=-1)
    entropy = entropy.reshape(*log_w.shape, *entropy.shape[1:])
    weight = log_w.softmax(dim=1).reshape(*log_w.shape, *(1,) * (entropy.ndim - 2))
    mean: Tensor = (entropy * weight).sum(dim=1)
    return mean


def surest(
    entropy: Float[Tensor, "items *x"],
    free: Bool[Tensor, "items *x"],
    count: Int[Tensor, " items"],
) -> Bool[Tensor, "items *x"]:
    """The ``count`` free places of each item with the least entropy; the first of equals."""
    flat = torch.where(free, entropy, torch.inf).flatten(1)
    place = flat.argsort(dim=1, stable=True).argsort(dim=1)
    return (place < count.unsqueeze(1)).reshape(free.shape) & free
