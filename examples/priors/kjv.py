"""Counts the ``kjv`` prior: the King James Bible as a model of characters.

    apt-get download bible-kjv bible-kjv-text       # Debian; public domain
    dpkg-deb -x ... ; bible -f gen1:1-rev22:21 > kjv.txt
    python examples/priors/kjv.py kjv.txt --network network/ --out kjv/

``network/`` is what ``kjv_network.py`` wrote; without it the prior is the counts alone.

Every n-gram of up to 14 characters of 3.7 million, with discounts that are chosen on the validation
blocks (``sfumato_text.verses``); takes about a minute, and two more for the network's scores on
test blocks. Nothing is random. The test blocks are scored once, at the end.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from kjv_patterns import measures
from torch import Tensor

from sfumato.denoisers.sequential import walk
from sfumato.priors import Prior
from sfumato.processes import Absorbing
from sfumato.token_priors import Expert, TokenPrior
from sfumato_text.backbones.counts import Counts
from sfumato_text.backbones.towers import Towers
from sfumato_text.counting import counted_model
from sfumato_text.ngrams import NGrams
from sfumato_text.tokenisers import Characters
from sfumato_text.verses import split, verses

CARD: dict[str, Any] = {
    "name": "kjv",
    "summary": "the King James Bible, characters",
    "data": "Debian bible-kjv and bible-kjv-text, 31,102 verses, 4.1 M characters",
    "licence": "public domain",
    "split": "blocks of 20 verses; of every 20 blocks the first is test, the eleventh validation",
    "seed": "none: counting draws nothing",
}


def bits(model: NGrams, blocks: Sequence[str]) -> float:
    """Bits per character by the chain rule, with nothing given before each block."""
    logs = walk(model, [model.encode(block) for block in blocks])
    return float(-sum(row.sum() for row in logs) / sum(map(len, blocks)) / math.log(2))


WINDOWS, LENGTH = 200, 192
"""Of test blocks, in which a network's scores are measured."""


def network_card(prior: TokenPrior, blocks: Sequence[str]) -> dict[str, Any]:
    """How a network was trained, and how well it fills gaps; bits per letter.

    Args:
        prior: As ``kjv_network.py`` writes it.
        blocks: Test blocks.
    """
    expert, trained = prior.experts[0], dict(prior.card["training"])
    last = trained.pop("history")[-1]
    found = measured(expert.module, prior.codec.encode("".join(blocks)))
    return trained | {
        "script": "examples/priors/kjv_network.py",
        "parameters": sum(p.numel() for p in expert.module.parameters()),
        **{name: last.pop(name) for name in ("steps", "letters", "seconds")},
        "bits_per_letter": {
            "validation": {k: v for k, v in last.items() if k in found},
            "training": {k: last[f"training_{k}"] for k in found},
            "test": found,
        },
    }


def measured(network: Towers, text: Tensor) -> dict[str, float]:
    """Bits per letter of gaps in windows all over a text."""
    starts = torch.linspace(0, len(text) - LENGTH, WINDOWS).long()
    found = measures(network, text[starts[:, None] + torch.arange(LENGTH)])
    return {name: round(value, 4) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verses", type=Path, help="one verse a line, with its reference")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--order", type=int, default=14)
    parser.add_argument("--network", type=Path, help="prior whose network joins the counts")
    arguments = parser.parse_args()
    parts = split(verses(arguments.verses))
    alphabet = Characters.from_text("".join(parts.training))
    model, _ = counted_model(
        "".join(parts.training), parts.validation, "".join(alphabet.alphabet),
        order=arguments.order,
    )  # fmt: skip
    counts = Counts.of(model)
    scores = {
        "order": arguments.order,
        "validation_bits_per_character": round(bits(model, parts.validation), 4),
        "test_bits_per_character": round(bits(model, parts.test), 4),
    }
    experts = [Expert("counts", counts, counts.options)]
    card = CARD | {"scores": scores}
    if arguments.network is not None:
        joined = Prior.load(arguments.network)
        assert isinstance(joined, TokenPrior)
        experts += joined.experts
        card["network"] = network_card(joined, parts.test)
    prior = TokenPrior.of(experts, Absorbing(model.tokens), alphabet, plugin="text", card=card)
    print(prior.save(arguments.out, overwrite=True, dtype=torch.float16), scores)


if __name__ == "__main__":
    main()
