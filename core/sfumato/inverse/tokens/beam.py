"""The most probable states, ranked: a beam over partly shown states.

Places are shown one at a time, not from left to right (as in Ithaca; Assael et al., 2022) but where
the beam's beliefs have the least entropy; the same place for all hypotheses, so that all know
equally much. A hypothesis that shows S is worth what its beliefs make of the rest,

    ln p(x_S, y)  ≈  Σ_{shown} ln q_i(x_i) + ln Z(q | x_S),

and of all ways to go on the best ``width`` stay. A complete one is worth ln p(x) p(y | x), the
prior's part by the chain rule in the order in which places were shown. No randomness is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.inverse.problems import Callback
from sfumato.inverse.tokens.descents import doubt, surest
from sfumato.inverse.tokens.evidence import blame, ready, refuse
from sfumato.inverse.tokens.problems import TokenDraws, TokenProblem, TokenSolver
from sfumato.inverse.tokens.rows import Rows, alike
from sfumato.noise import Streams
from sfumato.samplers.base import Step

__all__ = ["Beam", "Hypotheses"]


@dataclass(frozen=True, eq=False)
class Hypotheses:
    """Ranked states of each item, best first.

    Args:
        x: ``[items, width, *x]``.
        log_scores: ln p(x) p(y | x), given the known tokens, ``[items, width]``; −∞ where there
            are fewer hypotheses.
    """

    x: Int[Tensor, "items width *x"]
    log_scores: Float[Tensor, "items width"]

    @property
    def shares(self) -> Float[Tensor, "items width"]:
        """Probability of each hypothesis if it is one of these: at least its posterior's."""
        return self.log_scores.softmax(dim=1)


@dataclass(frozen=True)
class Beam(TokenSolver):
    """Beam search for the most probable states.

    Args:
        width: Hypotheses that are kept.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"absorbing"})

    width: int = 20

    def __post_init__(self) -> None:
        if self.width < 1:
            raise InvalidOptionError("Beam", f"width={self.width}", "use 1 or more")

    def __call__(
        self, problem: TokenProblem, streams: Streams, *, callback: Callback | None = None
    ) -> TokenDraws:
        found = self.rank(problem, callback=callback)
        nothing = torch.full_like(found.log_scores[:, 0], torch.nan)
        return TokenDraws(found.x[:, 0], nothing, nothing)

    def rank(self, problem: TokenProblem, *, callback: Callback | None = None) -> Hypotheses:
        """The best states of each item.

        Args:
            problem: Denoiser and evidence. An expert counts when the complete are ranked.
            callback: Called after every place, with the hypotheses as the batch.

        Raises:
            ImpossibleError: If no x agrees with the evidence, or none was found.
        """
        problem = ready(type(self).__name__, self.needs, problem)
        groups = alike(Rows(problem).hidden.flatten(1).sum(dim=1))
        with torch.no_grad():
            parts = [self.search(problem, index, callback) for index in groups]
        back = torch.tensor([item for index in groups for item in index]).argsort()
        x = torch.cat([part.x for part in parts])
        scores = torch.cat([part.log_scores for part in parts])
        return Hypotheses(x[back.to(x.device)], scores[back.to(x.device)])

    def search(
        self, whole: TokenProblem, index: list[int], callback: Callback | None
    ) -> Hypotheses:
        """The best states of items with equally many unknown places."""
        rows, shape = Rows(whole.select(index), self.width), (len(index), self.width)
        places = int(rows.hidden.flatten(1).sum(dim=1).amax())
        x = rows.repeated(rows.given)
        prior = torch.full(shape, -torch.inf, dtype=torch.float64, device=x.device)
        prior[:, 0] = 0.0
        for step in range(places):
            view = rows.outlook(x)
            value = prior + view.log_partition.reshape(shape)
            dead = torch.isinf(value).all(dim=1)
            if bool(dead.any()):
                item = int(dead.nonzero()[0])
                alive = rows.apart(view.log_q)[item][torch.isfinite(prior[item])]
                blame(whole, index[item], alive)
            free = rows.apart(x)[:, 0] == whole.denoiser.process.tokens
            one = torch.ones(len(index), dtype=torch.long, device=x.device)
            here = rows.repeated(surest(doubt(view, value), free, one))
            tilted = view.marginals[here].reshape(*shape, -1)
            belief = (view.log_q - rows.sites)[here].reshape(*shape, -1)
            x, prior = self.extend(x, here, prior, value.unsqueeze(-1) + tilted, belief)
            if callback is not None:
                callback(Step(step, places, None, x, view))
        scores = prior + rows.worth(x).double().reshape(shape)
        best = scores.argsort(dim=1, descending=True, stable=True)
        if bool(torch.isinf(scores).all(dim=1).any()):
            item = int(torch.isinf(scores).all(dim=1).nonzero()[0])
            refuse((index[item],), "no hypothesis agrees with it")
        wide = best.reshape(*shape, *(1,) * (x.ndim - 1)).expand(*shape, *x.shape[1:])
        return Hypotheses(rows.apart(x).gather(1, wide), scores.gather(1, best))

    def extend(
        self,
        x: Int[Tensor, "rows *x"],
        here: Tensor,
        prior: Float[Tensor, "items width"],
        value: Float[Tensor, "items width tokens"],
        belief: Float[Tensor, "items width tokens"],
    ) -> tuple[Tensor, Tensor]:
        """The best ways to go on: the states, and their prior's part."""
        tokens = value.shape[-1]
        best, at = (
            value.nan_to_num(nan=-torch.inf, neginf=-torch.inf).flatten(1).topk(self.width, dim=1)
        )
        parent, token = at // tokens, at % tokens
        items = torch.arange(len(at), device=at.device).unsqueeze(1)
        # where the beliefs in sites of weight 0 were lost, so is the hypothesis
        gain = prior.gather(1, parent) + belief.flatten(1).gather(1, at)
        row = (items * self.width + parent).flatten()
        wide = token.flatten().reshape(-1, *(1,) * (x.ndim - 1))
        alive = torch.isfinite(best)
        return torch.where(here[row], wide, x[row]), torch.where(alive, gain, -torch.inf)
