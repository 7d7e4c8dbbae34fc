"""Samplers of tokens. One file each, one line here; each class states its ``kind``."""

from sfumato.samplers.tokens.ancestral import Ancestral
from sfumato.samplers.tokens.base import Believe, TokenSampler, run_tokens
from sfumato.samplers.tokens.confidence import Confidence
from sfumato.samplers.tokens.ddim import DiscreteDDIM
from sfumato.samplers.tokens.entropy_bounded import EntropyBounded
from sfumato.samplers.tokens.first_hitting import FirstHitting
from sfumato.samplers.tokens.grids import GRIDS, cosine, loop, reveals, uniform
from sfumato.samplers.tokens.predictor_corrector import PredictorCorrector
from sfumato.samplers.tokens.remasking import Remasking
from sfumato.samplers.tokens.tau_leaping import TauLeaping

__all__ = [
    "GRIDS",
    "SAMPLERS",
    "Ancestral",
    "Believe",
    "Confidence",
    "DiscreteDDIM",
    "EntropyBounded",
    "FirstHitting",
    "PredictorCorrector",
    "Remasking",
    "TauLeaping",
    "TokenSampler",
    "cosine",
    "loop",
    "reveals",
    "run_tokens",
    "uniform",
]

SAMPLERS: dict[str, type[TokenSampler]] = {
    "ancestral": Ancestral,
    "confidence": Confidence,
    "ddim": DiscreteDDIM,
    "entropy-bounded": EntropyBounded,
    "first-hitting": FirstHitting,
    "predictor-corrector": PredictorCorrector,
    "remasking": Remasking,
    "tau-leaping": TauLeaping,
}
