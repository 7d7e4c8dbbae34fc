"""Between our denoisers and the pipelines of diffusers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from scipy import stats

from sfumato.denoisers import MarkovChain, TokenNetwork
from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes import Absorbing, Uniform
from sfumato.samplers.tokens import FirstHitting, run_tokens, uniform
from sfumato_text.backbones.towers import Towers
from sfumato_text.pipelines import PipelineModel, PipelineTokeniser, from_pipeline
from sfumato_text.tokenisers import Characters

K = 3
NEXT = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.4, 0.4, 0.2]], dtype=torch.float64)
FIRST = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def pipeline(model: PipelineModel, tokeniser: Any = None) -> Any:
    diffusers = pytest.importorskip("diffusers", minversion="0.38")
    if not hasattr(diffusers, "LLaDA2Pipeline"):
        pytest.skip("this diffusers has no LLaDA2Pipeline")
    scheduler = diffusers.BlockRefinementScheduler()
    made = diffusers.LLaDA2Pipeline(model=model, scheduler=scheduler, tokenizer=tokeniser)
    made.set_progress_bar_config(disable=True)
    return made


def cycle() -> MarkovChain:
    """a → b → c → a, almost surely: no chance is 0, so that nothing is impossible."""
    step = torch.full((K, K), 1e-6, dtype=torch.float64)
    step[[0, 1, 2], [1, 2, 0]] = 1
    return MarkovChain(Absorbing(K), FIRST, step / step.sum(dim=1, keepdim=True))


@pytest.mark.slow
def test_a_pipeline_of_diffusers_runs_our_denoiser() -> None:
    tokeniser = PipelineTokeniser(Characters(tuple("abc")))
    run = pipeline(PipelineModel(cycle()), tokeniser)
    found = run(prompt="ca", gen_length=7, block_length=3, num_inference_steps=3)
    assert found.texts == ["bcabcab"]


@pytest.mark.slow
def test_a_pipeline_of_diffusers_runs_our_network_and_gets_no_mask() -> None:
    network = Towers(tokens=K, width=8, heads=2, layers=1, hidden=8, triples=16, table_width=4)
    denoiser = TokenNetwork(network.eval(), Absorbing(K))
    prompt = torch.tensor([[0, 2, 1], [1, 1, 0]])
    found = pipeline(PipelineModel(denoiser))(
        input_ids=prompt, gen_length=5, block_length=4, num_inference_steps=2, mask_token_id=K,
        temperature=1.0, threshold=2.0, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert found.sequences.shape == (2, 5)
    assert int(found.sequences.max()) < K


def test_a_blind_network_can_correct_what_is_shown() -> None:
    """The pipeline edits tokens that the network finds improbable given all others."""

    class Alternating(torch.nn.Module):
        blind = True

        def forward(self, ids: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
            before = ids.roll(1, dims=1)
            wanted = torch.where(before < K, (before + 1) % K, 0)
            return 20.0 * torch.nn.functional.one_hot(wanted, K).float()

    denoiser = TokenNetwork(Alternating(), Absorbing(K))
    x = torch.tensor([[0, 1, 1]])
    shown = PipelineModel(denoiser)(x).logits
    assert shown.argmax(dim=-1)[0, 1:].tolist() == [1, 2]
    assert shown[..., K].max() == -torch.inf
    sure = PipelineModel(cycle())(x).logits.argmax(dim=-1)
    assert sure.tolist() == x.tolist()


def test_our_samplers_run_a_model_with_the_pipelines_signature() -> None:
    chain = MarkovChain(Absorbing(K), FIRST, NEXT)
    denoiser = from_pipeline(PipelineModel(chain), K)
    n = 3000
    process = denoiser.process
    streams = Streams.count(0, n)
    x = process.start((n, 3), streams)
    found = run_tokens(FirstHitting(), denoiser, x, uniform(process, 8), streams)
    states = list(itertools.product(range(K), repeat=3))
    expected = [float(FIRST[a] * NEXT[a, b] * NEXT[b, c]) * n for a, b, c in states]
    counts = [int((found == torch.tensor(s)).all(dim=1).sum()) for s in states]
    assert stats.chisquare(counts, expected).pvalue > 1e-4


def test_padding_reaches_the_model_as_its_attention_mask() -> None:
    seen: dict[str, torch.Tensor] = {}

    class Watching(torch.nn.Module):
        def forward(self, ids: torch.Tensor, **told: torch.Tensor) -> Any:
            seen.update(told)
            return PipelineModel(cycle())(ids)

    denoiser = from_pipeline(Watching(), K, suppressed=(0,))
    valid = torch.tensor([[False, True, True, False]])
    p = denoiser(torch.full((1, 4), K), denoiser.process.level(1.0), {"valid": valid}).probs
    assert seen["attention_mask"].tolist() == [[0, 1, 1, 0]]
    assert seen["position_ids"].tolist() == [[0, 0, 1, 1]]
    assert float(p[..., 0].max()) == 0


def test_what_cannot_be_a_pipelines_model_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="no MASK"):
        PipelineModel(MarkovChain(Uniform(K), FIRST, NEXT))
    with pytest.raises(InvalidOptionError, match="one length"):
        PipelineTokeniser(Characters(tuple("abc")))(["a", "ab"])
