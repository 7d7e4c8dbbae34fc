"""Every installed plugin keeps the contract, first-party or not."""

from __future__ import annotations

import pytest
import torch

import sfumato as sf
from sfumato.noise import Streams
from sfumato.testing import check_plugin
from sfumato.token_priors import TokenPrior

GRADIENT = torch.linspace(0.1, 0.9, 48).expand(3, 40, 48)
PICTURE = GRADIENT + 0.05 * Streams.count(0, 1).uniform(torch.zeros(1, 3, 40, 48))[0]

TASKS = [
    ("denoise", {"noise": 10}),
    ("super-resolve", {"factor": 4, "noise": 1}),
    ("super-resolve", {"factor": 2, "kernel": "box", "noise": 1}),
    ("deblur", {"sigma": 1.6, "noise": 2}),
    ("deblur", {"length": 5, "angle": 30, "boundary": "circular", "noise": 2}),
    ("colorize", {"noise": 1}),
    ("declip", {}),
    ("inpaint", {"colour": "#ff00ff"}),
]


TOKEN_TASKS = [
    ("fill", {"share": 0.1, "span": 3}),
    ("restore", {"rate": 0.05}),
    ("restore", {"channel": "ocr", "rate": 0.1, "foreign": "noise"}),
    ("respell", {"rate": 0.02, "lost": 0.02, "inserted": 0.02, "foreign": "noise"}),
    ("constrain", {"pattern": ".*"}),
    ("denoise-ocr", {"rate": 0.05}),
]


@pytest.mark.parametrize("name", sorted(sf.plugins()))
def test_an_installed_plugin_keeps_its_contract(name: str) -> None:
    check_plugin(sf.load_plugin(name))


@pytest.mark.slow
def test_the_image_plugin_keeps_it_for_every_format_and_operator() -> None:
    image = sf.load_plugin("image")
    if image.missing:
        pytest.skip(f"{', '.join(image.missing)} not installed")
    tasks = [image.operator(name, **options) for name, options in TASKS]
    coarsest = 0.1  # JPEG
    check_plugin(image, signal=sf.Signal(PICTURE), tasks=tasks, tolerance=coarsest)


@pytest.mark.slow
def test_the_text_plugin_keeps_it_for_every_format_and_operator(
    small_prior: TokenPrior, corpus: str
) -> None:
    text = sf.load_plugin("text")
    if text.missing:
        pytest.skip(f"{', '.join(text.missing)} not installed")
    tasks = [text.operator(name, **options) for name, options in TOKEN_TASKS]
    words = " ".join(corpus[4000:4300].split())
    signal = small_prior.codec.to_signal(words[:120])
    check_plugin(text, signal=signal, tasks=tasks, prior=small_prior)
