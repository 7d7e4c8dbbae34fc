"""The verbs on tokens: what depends on what, what is counted, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

import sfumato as sf
from sfumato.errors import InvalidOptionError, ShapeError, UnknownNameError, UnsupportedError
from sfumato.inverse.likelihoods import Gaussian
from sfumato.inverse.solvers.daps import DAPS
from sfumato.inverse.standard import Mask
from sfumato.inverse.tokens.lattice import Lattice
from sfumato.inverse.tokens.twisted import TwistedSMC
from sfumato.samplers import DDIM
from sfumato.token_priors import Expert, TokenPrior

pytest.importorskip("sfumato_text")


@pytest.fixture(scope="module")
def network(small_prior: TokenPrior) -> TokenPrior:
    """A network with random weights: every belief is possible, none is certain."""
    from sfumato_text.backbones.towers import Towers

    options = {
        "tokens": small_prior.process.tokens, "width": 16, "layers": 1, "heads": 2, "hidden": 32,
        "reach": 32,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = Towers(**options).eval().requires_grad_(False)
    return TokenPrior.of(
        [Expert("towers", module, options)], small_prior.process, small_prior.codec, plugin="text"
    )


def signal(text: str) -> sf.Signal:
    return sf.load_plugin("text").part("codecs", "characters")(
        {"name": "characters", "alphabet": ["a"]}
    ).to_signal(text)  # fmt: skip


def fill(**options: object) -> sf.inverse.tasks.Task:
    return sf.load_plugin("text").operator("fill", **options)


@pytest.mark.parametrize("kind", ["chain", "network"])
def test_a_draw_depends_on_seed_and_number_only(
    small_prior: TokenPrior, network: TokenPrior, kind: str
) -> None:
    prior = small_prior if kind == "chain" else network
    many = sf.sample(prior, n=4, seed=2, shape=(12,))
    assert sf.sample(prior, n=4, seed=2, shape=(12,), batch=1) == many
    assert sf.sample(prior, n=2, seed=2, first=2, shape=(12,)) == many[2:]
    assert sf.sample(prior, n=4, seed=3, shape=(12,)) != many
    assert all(len(text) == 12 for text in many)


def test_draws_from_a_chain_follow_its_own_statistics(small_prior: TokenPrior, corpus: str) -> None:
    """Letters of 200 drawn rows are as frequent as where the chain was counted."""
    rows = "".join(sf.sample(small_prior, n=200, seed=0, shape=(20,)))
    for sign in " eta":
        share = corpus.count(sign) / len(corpus)
        # neighbours depend on each other: a row counts as two independent places
        error = math.sqrt(share * (1 - share) / 400)
        assert abs(rows.count(sign) / len(rows) - share) < 4 * error


def test_network_evaluations_are_counted_per_sample(network: TokenPrior) -> None:
    result = sf.reconstruct(network, fill(), signal("ab[...]cd"), n=3)
    assert result.record["solver"] == "clamp"
    assert result.nfe == 3


def test_few_draws_are_not_called_certain(network: TokenPrior) -> None:
    """Of n draws a reading can at most be n/(n + 1) sure, and what was read is."""
    result = sf.reconstruct(network, fill(), signal("ab[...]cd"), n=1)
    assert result.confidence[~result.altered].eq(1).all()
    assert float(result.confidence[result.altered].max()) < 0.6
    (place,) = result.alternatives
    assert place.probabilities == (0.5,)


def test_unknown_lengths_are_compared_by_a_solver_that_scores_what_is_known(
    network: TokenPrior,
) -> None:
    task, damaged = fill(longest=2), signal("ab[---]cd")
    result = sf.reconstruct(network, task, damaged, n=1, options=None)
    assert result.record["solver"] == "twisted"
    assert "score_known=True" in result.record["solver_options"]
    told = sf.explain(task, network, damaged)
    assert (told.default, told.reason) == ("twisted", result.record["reason"])
    with pytest.raises(UnsupportedError, match="lattice or twisted"):
        sf.reconstruct(network, task, damaged, n=1, solver="clamp")


def test_the_evidence_of_a_length_counts_the_known_characters(network: TokenPrior) -> None:
    """A gap of one possible length gets the same evidence as the chain rule averages to."""
    task = fill(longest=1)
    result = sf.reconstruct(
        network, task, signal("a[---]b"), n=1, solver=TwistedSMC(particles=8, score_known=True)
    )
    # three places of 48 tokens, of which two are known: an untrained network is nearly even
    assert result.log_evidence == pytest.approx(-2 * math.log(48), abs=1.5)


def test_a_solver_may_be_given_by_name_with_options_or_made(small_prior: TokenPrior) -> None:
    damaged = signal("is cal[..]d")
    for solver, options in (("lattice", {"beam": 40}), (Lattice(beam=40), None)):
        result = sf.reconstruct(small_prior, fill(), damaged, n=1, solver=solver, options=options)
        assert "beam=40" in result.record["solver_options"]
        assert result.record["reason"] == "chosen by the caller"


def test_progress_rises_to_one(small_prior: TokenPrior) -> None:
    told: list[float] = []
    sf.reconstruct(
        small_prior, fill(longest=3), signal("is cal[---]d by"), n=1,
        callback=lambda share, _: told.append(share),
    )  # fmt: skip
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)


def test_the_parts_of_an_input_do_not_see_each_others_randomness(small_prior: TokenPrior) -> None:
    """Two equal records of a document are filled from streams of their own."""
    from sfumato_text.files.documents import Document, Gap, signal_of

    text = "the objects\nthe objects\n"
    gaps = (Gap(6, 5, 5), Gap(18, 5, 5))
    document = Document(text, gaps, records=((0, 11), (12, 23)))
    result = sf.reconstruct(small_prior, fill(notation="none"), signal_of(document), n=24)
    assert result.record["parts"] == 2
    first = [x[6:11].tolist() for x in result.samples]
    second = [x[23:28].tolist() for x in result.samples]
    assert first != second


WRONG = {
    "no samples": ({"n": 0}, InvalidOptionError),
    "unknown solver": ({"solver": "latice"}, UnknownNameError),
    "unknown option": ({"solver": "lattice", "options": {"width": 3}}, UnknownNameError),
}


@pytest.mark.parametrize("case", WRONG)
def test_options_that_do_not_fit_are_refused(small_prior: TokenPrior, case: str) -> None:
    options, kind = WRONG[case]
    with pytest.raises(kind):
        sf.reconstruct(small_prior, fill(), signal("is cal[..]d"), **options)


def test_numbers_and_tokens_do_not_mix(small_prior: TokenPrior) -> None:
    keep = Mask(torch.ones(4), Gaussian(torch.tensor(0.1)))
    with pytest.raises(UnsupportedError, match="an operator on tokens"):
        sf.reconstruct(small_prior, keep, signal("a"))
    with pytest.raises(ShapeError, match="a Signal"):
        sf.reconstruct(small_prior, fill(), torch.zeros(1, 4))
    with pytest.raises(UnsupportedError, match="this one is over tokens"):
        sf.reconstruct(small_prior, fill(), signal("is cal[..]d"), solver=DAPS())
    with pytest.raises(UnsupportedError, match="this one is over tokens"):
        sf.sample(small_prior, n=1, shape=(4,), sampler=DDIM())


def test_sampling_asks_for_a_length_where_the_prior_leaves_it_open(
    small_prior: TokenPrior,
) -> None:
    with pytest.raises(ShapeError, match="shape"):
        sf.sample(small_prior, n=1)
    with pytest.raises(ShapeError):
        sf.sample(small_prior, n=1, shape=(3, 4))
    with pytest.raises(UnknownNameError):
        sf.sample(small_prior, n=1, shape=(4,), sampler="first-hiting")
