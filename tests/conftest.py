"""What every test may use: where outside data lies, and one thread per process.

Several workers on few cores are fastest with one thread each; more would only take turns.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jaxtyping
import pytest
import torch
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from sfumato.token_priors import TokenPrior

CHECKED = (
    "denoisers", "draws", "factors", "inverse", "likelihood", "linalg", "networks", "noise",
    "processes", "samplers",
)  # fmt: skip
"""Where shapes and dtypes in annotations are checked, while tests run and only then. Modules that
meet wrong input from people are left out: there our own errors are what is tested."""

install_import_hook([f"sfumato.{name}" for name in CHECKED], "shape_checks.checked")

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of evaluation data that is not part of the repository (``SFUMATO_DATA``)."""
    folder = os.environ.get("SFUMATO_DATA", "")
    if not Path(folder or "/nowhere").is_dir():
        pytest.skip("SFUMATO_DATA does not name a folder")
    return Path(folder)


@pytest.fixture(autouse=True)
def isolated_randomness() -> Iterator[None]:
    """Freshly initialised networks are the same in every test, whatever ran before.

    Only initialisation draws from torch's global generator; that nothing else does is a law of its
    own (``tests/laws``).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """Lets an array of a wrong shape reach our own error."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def corpus() -> str:
    """A text in the 48 commonest characters of Python's documentation, in lower case."""
    corpora = pytest.importorskip("sfumato_text.corpora")
    text = corpora.pydoc()[:50_000].lower()
    common = {"\n"} | {sign for sign, _ in Counter(text).most_common(48)}
    return "".join(sign for sign in text if sign in common)


@pytest.fixture(scope="session")
def small_prior(corpus: str) -> TokenPrior:
    """Six characters of context, counted in that text: a prior over characters in a second."""
    from sfumato.processes import Absorbing
    from sfumato.token_priors import Expert, TokenPrior
    from sfumato_text.backbones.counts import Counts
    from sfumato_text.counting import encoded
    from sfumato_text.discounts import Discounts
    from sfumato_text.ngrams import NGrams
    from sfumato_text.tokenisers import Characters

    alphabet = "".join(sorted(set(corpus)))
    counts = Counts.of(NGrams(encoded(corpus, alphabet), alphabet, Discounts.start(6)))
    return TokenPrior.of(
        [Expert("counts", counts, counts.options)], Absorbing(len(alphabet)),
        Characters(tuple(alphabet)), plugin="text", card={"name": "small"},
    )  # fmt: skip


@pytest.fixture(scope="session")
def small_prior_folder(small_prior: TokenPrior, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on disk."""
    return small_prior.save(tmp_path_factory.mktemp("priors") / "small")
