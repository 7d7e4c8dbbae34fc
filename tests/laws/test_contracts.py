"""The checks for plugin authors, applied to what is shipped here."""

from __future__ import annotations

import pytest

from sfumato.processes import EDM, VE, VP, Cosine, Flow, Gaussian, LinearBeta, Schedule, SubVP
from sfumato.samplers import SAMPLERS
from sfumato.testing import check_process, check_sampler

SCHEDULES = [EDM(), VE(), VP(), SubVP(), Cosine(), Flow(), LinearBeta()]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_every_process_obeys_the_laws(schedule: Schedule) -> None:
    check_process(Gaussian(schedule))


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_obeys_the_laws(name: str) -> None:
    check_sampler(SAMPLERS[name]())


@pytest.mark.parametrize("schedule", [VP(), Flow()], ids=repr)
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_obeys_them_under_other_processes(name: str, schedule: Schedule) -> None:
    check_sampler(SAMPLERS[name](), process=Gaussian(schedule))
