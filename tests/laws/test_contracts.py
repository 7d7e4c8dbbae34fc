"""The checks for plugin authors, applied to what is shipped here."""

from __future__ import annotations

import pytest

from sfumato.processes import EDM, VE, VP, Cosine, Flow, Gaussian, LinearBeta, Schedule, SubVP
from sfumato.samplers import PRESETS, SAMPLERS
from sfumato.testing import check_process, check_sampler

NAMES = [name for name in SAMPLERS if not {"interpolation", "manifold"} & set(PRESETS[name].needs)]
KINDS = sorted({PRESETS[name].part: name for name in reversed(NAMES)}.values())
SCHEDULES = [EDM(), VE(), VP(), SubVP(), Cosine(), Flow(), LinearBeta()]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_every_process_obeys_the_laws(schedule: Schedule) -> None:
    check_process(Gaussian(schedule))


@pytest.mark.parametrize("name", NAMES)
def test_every_sampler_obeys_the_laws(name: str) -> None:
    check_sampler(SAMPLERS[name](), steps=100, bias=0.06)


@pytest.mark.parametrize("schedule", [VP(), Flow()], ids=repr)
@pytest.mark.parametrize("name", KINDS)
def test_every_sampler_obeys_them_under_other_processes(name: str, schedule: Schedule) -> None:
    check_sampler(SAMPLERS[name](), process=Gaussian(schedule))
