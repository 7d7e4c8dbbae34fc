"""Every installed plugin keeps the contract, first-party or not."""

from __future__ import annotations

import pytest
import torch

import sfumato as sf
from sfumato.noise import Streams
from sfumato.testing import check_plugin

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
