"""Beliefs that are sharpened or guided."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sfumato.denoisers.categorical import Beliefs, TokenDenoiser
from sfumato.denoisers.guided_tokens import ClassifierFreeTokens
from sfumato.denoisers.sharpened import Sharpened, sharpen
from sfumato.errors import InvalidOptionError
from sfumato.processes import Absorbing, TokenLevel

P = torch.tensor([0.1, 0.4, 0.3, 0.2], dtype=torch.float64)


class Labelled(TokenDenoiser):
    """Believes ``P``, or what the label says."""

    process = Absorbing(4)
    takes_time = False

    def __call__(
        self, x_t: Tensor, t: TokenLevel, condition: dict[str, Tensor] | None = None
    ) -> Beliefs:
        p = P if (condition or {}).get("label") is None else condition["label"]  # type: ignore[index]
        return Beliefs(p.log().expand(*x_t.shape, -1))


def believed(denoiser: TokenDenoiser, **condition: Tensor) -> Tensor:
    x = torch.full((1, 2, 3), 4)
    return denoiser(x, denoiser.process.level(0.5), condition or None).probs[0, 1, 2]


def test_without_options_the_belief_is_as_it_was() -> None:
    assert torch.equal(believed(Sharpened(Labelled())), P.log().exp())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_a_power_of_the_belief(temperature: float) -> None:
    expected = P ** (1 / temperature)
    found = believed(Sharpened(Labelled(), temperature))
    assert torch.allclose(found, expected / expected.sum(), rtol=1e-12)


def test_temperature_zero_makes_the_first_of_the_likeliest_certain() -> None:
    tied = torch.tensor([0.2, 0.4, 0.4], dtype=torch.float64).log()
    assert sharpen(tied, 0.0).exp().tolist() == [0, 1, 0]
    assert sharpen(tied, 1.0, top_k=1).exp().tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("nucleus", "kept"),
    [(0.05, 1), (0.39, 1), (0.41, 2), (0.71, 3), (0.89, 3), (0.95, 4), (1.0, 4)],
)
def test_the_nucleus_keeps_the_token_with_which_its_mass_is_reached(
    nucleus: float, kept: int
) -> None:
    expected = torch.zeros(4, dtype=torch.float64)
    order = P.argsort(descending=True)[:kept]
    expected[order] = P[order] / P[order].sum()
    assert torch.allclose(believed(Sharpened(Labelled(), nucleus=nucleus)), expected, rtol=1e-12)


def test_top_k_comes_before_the_nucleus() -> None:
    # of the two likeliest, 4/7 and 3/7, the first alone reaches one half
    found = believed(Sharpened(Labelled(), top_k=2, nucleus=0.5))
    assert found.tolist() == [0, 1, 0, 0]


def test_excluded_tokens_stay_excluded() -> None:
    log_p = torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64).log()
    for found in (sharpen(log_p, 2.0), sharpen(log_p, nucleus=0.9), sharpen(log_p, top_k=3)):
        assert found[0] == -torch.inf
        assert torch.isfinite(found[1:]).all()


@pytest.mark.parametrize("options", [{"temperature": -1.0}, {"nucleus": 0.0}, {"top_k": 0}])
def test_options_without_meaning_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidOptionError):
        Sharpened(Labelled(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_guidance_is_a_power_of_the_ratio_of_both_beliefs(scale: float) -> None:
    given = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    expected = given**scale * P ** (1 - scale)
    found = believed(ClassifierFreeTokens(Labelled(), scale), label=given)
    assert torch.allclose(found, expected / expected.sum(), rtol=1e-12)


def test_guidance_without_a_condition_is_the_denoiser() -> None:
    assert torch.equal(believed(ClassifierFreeTokens(Labelled(), 3.0)), P.log().exp())


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_guidance_keeps_certain_places_certain(scale: float) -> None:
    given = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    found = believed(ClassifierFreeTokens(Labelled(), scale), label=given)
    assert found.tolist() == [0, 1, 0, 0]


def test_guidance_of_no_number_is_refused() -> None:
    with pytest.raises(InvalidOptionError):
        ClassifierFreeTokens(Labelled(), float("nan"))
