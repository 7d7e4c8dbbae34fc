"""What the rest of a row promises to a history, so that a beam knows what to keep.

    a_i(c)     ∝ p(y after i | c)
    g_i(s, c)  ∝ p(φ accepts the rest, y after i | s, c) / p(y after i | c)

with c a state of the coarse chain after place i and s one of the machine. Both by filtering
backwards. g is asked of the coarse chain itself where that is cheap. A rule such as a keyword must
be judged by how its letters follow each other: by their frequencies alone a word looks so unlikely
that histories which write it early crowd out all others. Where the machine is large, as a channel's
is, g remembers less: the last token, or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from sfumato.denoisers.sequential import Coarse
from sfumato.factors.base import Machine

__all__ = ["Acceptance", "acceptance", "lookahead"]

WORK = 2e8
"""Products that filtering a machine may take."""

LEAST = 1e-290
"""What is possible stays so, however unlikely."""

ROUNDS = 20  # towards the coarse chain's stationary distribution


@dataclass(frozen=True, eq=False)
class Acceptance:
    """g after every place.

    Args:
        table: After each place; relative to the highest of the place.
        by: What the last axis is: "coarse" states, the last "token", or "nothing".
    """

    table: Float[ndarray, "places states contexts"]
    by: str

    def at(
        self, place: int, machine: Int[ndarray, " n"], coarse: Int[ndarray, " n"],
        token: Int[ndarray, " n"],
    ) -> Float[ndarray, " n"]:  # fmt: skip
        """g after a place, of histories that end with ``token``."""
        context = {"coarse": coarse, "token": token, "nothing": np.zeros_like(token)}[self.by]
        found: ndarray = self.table[place][machine, context]
        return found


def lookahead(
    coarse: Coarse, like: Float[ndarray, "items places tokens"], lengths: Int[ndarray, " items"]
) -> Float[ndarray, "places items coarse"]:
    """a, each divided by its largest value.

    Args:
        coarse: The chain that looks ahead.
        like: ℓ of the places that are looked at, up to a factor.
        lengths: How many of them each item has.
    """
    items, places, _ = like.shape
    ahead = np.ones((places, items, len(coarse.probs)))
    for item in range(items):
        for i in range(min(places, int(lengths[item])) - 2, -1, -1):
            ahead[i, item] = earlier(coarse, like[item, i + 1], ahead[i + 1, item])
    return ahead


def earlier(
    coarse: Coarse, like: Float[ndarray, " tokens"], b: Float[ndarray, " coarse"]
) -> Float[ndarray, " coarse"]:
    """Σ_v p(v | c) ℓ(v) b(where v leads), divided by its largest value; ones if nothing is left."""
    tokens = np.flatnonzero(like > 1e-12)
    if len(tokens) == len(like):
        b = np.einsum("cv,cv,v->c", coarse.probs, b[coarse.follow], like)
    else:
        b = (coarse.probs[:, tokens] * b[coarse.follow[:, tokens]]) @ like[tokens]
    return b / b.max() if b.max() > 0 else np.ones_like(b)


def acceptance(
    machine: Machine, coarse: Coarse, sites: Float[ndarray, "length tokens"]
) -> Acceptance:
    """g of a machine over a row.

    Args:
        machine: φ.
        coarse: The chain that looks ahead.
        sites: ln ℓ.
    """
    top = sites.max(axis=1, keepdims=True)
    like = np.exp(sites - np.where(np.isfinite(top), top, 0))
    live = reached(machine, len(sites))
    steps = machine.states * int((like > 0).sum())
    if steps * len(coarse.probs) <= WORK:
        return Acceptance(filtered(machine, coarse, like, live), "coarse")
    if steps * coarse.probs.shape[1] <= WORK:
        return Acceptance(filtered(machine, last_token(coarse), like, live), "token")
    return Acceptance(forgetful(machine, coarse, sites, live), "nothing")


def reached(machine: Machine, length: int) -> list[Int[ndarray, " _"]]:
    """The states that a history can be in before every place, and after the last.

    g is relative to them: what no history can reach, such as a text that has ended after its first
    letter, may be so much likelier to be accepted that all others would vanish beside it.
    """
    log_a, all_tokens = machine.initial.double()[None], torch.zeros(1, machine.tokens).double()
    found = [np.flatnonzero(log_a[0].isfinite().numpy())]
    for place in range(length):
        log_a = machine.forward(place, log_a, all_tokens)
        log_a = log_a - log_a.max().nan_to_num(neginf=0)
        found.append(np.flatnonzero(log_a[0].isfinite().numpy()))
    return found


def filtered(
    machine: Machine,
    coarse: Coarse,
    like: Float[ndarray, "length tokens"],
    live: list[Int[ndarray, " _"]],
) -> Float[ndarray, "places states contexts"]:
    """g, with what a coarse chain remembers."""
    final = machine.final.double().numpy()
    g = np.zeros(len(final))
    g[live[-1]] = np.exp(relative(final[live[-1]]))
    accepted = np.repeat(g[:, None], len(coarse.probs), axis=1)
    plain = np.ones(len(coarse.probs))
    found = [accepted]
    for place in range(len(like) - 1, 0, -1):
        arcs = machine.arcs(place, torch.from_numpy(live[place]))
        source, token, target = (part.numpy() for part in (arcs.source, arcs.token, arcs.target))
        source = live[place][source]
        factor = np.exp(arcs.log_weight.double().numpy()) * like[place, token]
        some = np.flatnonzero(factor)
        some = some[np.argsort(source[some], kind="stable")]
        arc = source[some], token[some], target[some], factor[some]
        accepted = before(coarse, arc, accepted)
        accepted /= accepted.max() if accepted.max() > 0 else 1
        accepted = np.where(accepted > 0, np.maximum(accepted, LEAST), 0)
        plain = np.maximum(earlier(coarse, like[place], plain), LEAST)
        ratio = accepted / plain
        found.append(ratio / ratio.max() if ratio.max() > 0 else ratio)
    return np.array(found[::-1])


def before(
    coarse: Coarse,
    arcs: tuple[ndarray, ndarray, ndarray, ndarray],
    accepted: Float[ndarray, "states contexts"],
) -> Float[ndarray, "states contexts"]:
    """Σ_{v, s'} p(v | c) f(s, v, s') a(s', where v leads), for every state s.

    Args:
        coarse: The chain that looks ahead.
        arcs: Source, token, target and weight, in the order of their sources.
        accepted: a.
    """
    source, token, target, factor = arcs
    found = np.zeros_like(accepted)
    if (coarse.follow == coarse.follow[:1]).all():  # where v leads, c does not matter
        weight = factor * accepted[target, coarse.follow[0, token]]
        states, tokens = len(accepted), coarse.probs.shape[1]
        cell = np.bincount(source * tokens + token, weight, states * tokens)
        some = np.flatnonzero(np.bincount(source))
        found[some] = cell.reshape(states, tokens)[some] @ coarse.probs.T
        return found
    step = accepted[target[:, None], coarse.follow.T[token]]
    step *= coarse.probs.T[token] * factor[:, None]
    begin = np.flatnonzero(np.append(True, np.diff(source) != 0))[: len(source)]
    found[source[begin]] = np.add.reduceat(step, begin, axis=0)
    return found


def forgetful(
    machine: Machine,
    coarse: Coarse,
    sites: Float[ndarray, "length tokens"],
    live: list[Int[ndarray, " _"]],
) -> Float[ndarray, "places states one"]:
    """g, as if tokens were independent."""
    common = np.log(np.maximum(coarse.probs.mean(axis=0), 1e-12))
    log_b = among(machine.final.double().numpy(), live[-1])
    found = [likely(log_b.numpy()[0])]
    for place in range(len(sites) - 1, 0, -1):
        belief = torch.from_numpy(sites[place] + common)
        log_b = machine.backward(place, log_b, belief.log_softmax(dim=0).unsqueeze(0))
        log_b = among(log_b.numpy()[0], live[place])
        found.append(likely(log_b.numpy()[0]))
    return np.array(found[::-1])[:, :, None]


def among(logs: Float[ndarray, " states"], live: Int[ndarray, " some"]) -> Tensor:
    """Logarithms relative to the largest of some states, −∞ for the others, ``[1, states]``."""
    found = np.full_like(logs, -np.inf)
    found[live] = relative(logs[live])
    return torch.from_numpy(found)[None]


def likely(logs: Float[ndarray, " states"]) -> Float[ndarray, " states"]:
    return np.where(np.isfinite(logs), np.maximum(np.exp(logs), LEAST), 0)


def last_token(coarse: Coarse) -> Coarse:
    """A chain that remembers one token: what follows it in the coarse chain's long run."""
    tokens = coarse.probs.shape[1]
    often = np.full(len(coarse.probs), 1 / len(coarse.probs))
    for _ in range(ROUNDS):
        often = np.bincount(
            coarse.follow.ravel(), (often[:, None] * coarse.probs).ravel(), len(often)
        )
    pairs = np.zeros((tokens, tokens))
    for v in range(tokens):
        pairs[v] = (often * coarse.probs[:, v]) @ coarse.probs[coarse.follow[:, v]]
    pairs += coarse.probs.mean(axis=0) * 1e-6  # tokens that the long run never meets
    follow = np.tile(np.arange(tokens), (tokens, 1))
    return Coarse(pairs / pairs.sum(axis=1, keepdims=True), follow)


def relative(logs: ndarray) -> ndarray:
    """Logarithms less their largest, unless all are −∞."""
    top = logs.max(initial=-np.inf)
    return logs - top if np.isfinite(top) else logs
