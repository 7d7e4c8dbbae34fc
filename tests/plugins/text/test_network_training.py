"""A masked language model becomes a diffusion model: all weights, or adapters."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sfumato.denoisers import TokenNetwork
from sfumato.processes import Absorbing
from sfumato.token_priors import Expert, TokenPrior
from sfumato.training import LoRA, TrainConfig, finetune, loop
from sfumato_text.backbones.masked_lms import Bert, EuroBert, MaskedLM, ModernBert
from sfumato_text.backbones.towers import Towers
from sfumato_text.converters import masked_lm
from sfumato_text.tokenisers import Characters

transformers = pytest.importorskip("transformers")

LETTERS = "abcdefgh"
CONFIG = TrainConfig(
    steps=60, batch=16, lr=3e-3, warmup=5, low_discrepancy=True, validation_every=20,
    validation_items=32, ema=0.9, log_every=5, checkpoint_minutes=60,
)  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """One letter over and over: what is hidden is what is shown. [CLS] and [SEP] may frame it."""

    ids: Tensor
    length: int = 12
    frame: tuple[int, int] | None = None

    def __len__(self) -> int:
        return 64

    def item(self, index: int, generator: torch.Generator) -> Tensor:
        own = self.ids[index % len(self.ids)].expand(self.length)
        if self.frame is None:
            return own
        return torch.cat([own.new_tensor([self.frame[0]]), own, own.new_tensor([self.frame[1]])])

    def validation(self) -> Rows:
        return self


def write_bert(folder: Path) -> None:
    """A small BERT of letters, as transformers writes it."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set(LETTERS))]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]",
    ).save_pretrained(folder)  # fmt: skip
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=24,
    )  # fmt: skip
    transformers.BertForMaskedLM(config).save_pretrained(folder)


@pytest.fixture
def prior(tmp_path: Path) -> TokenPrior:
    write_bert(tmp_path / "bert")
    return masked_lm(tmp_path / "bert")


def rows(prior: TokenPrior, **more: Any) -> Rows:
    return Rows(prior.codec.encode(LETTERS), **more)


def scores(folder: Path, key: str) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)[key] for line in lines if key in json.loads(line)]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, LoRA(rank=4, alpha=16.0)], ids=["full", "lora"])
def test_finetuning_lowers_the_loss(tmp_path: Path, prior: TokenPrior, lora: LoRA | None) -> None:
    out = tmp_path / "tuned"
    lr = 3e-3 if lora is None else 3e-2
    config = replace(CONFIG, lora=lora, lr=lr)
    tuned = finetune(prior, rows(prior, frame=(2, 3)), out=out, config=config, tracker="")
    first, last = scores(out, "loss")[0], scores(out, "validation_loss")[-1]
    assert last < 0.85 * first  # nats per letter; letters alone, without context, are ln 8 of ln 13
    assert (out / "adapter").exists() == (lora is not None)
    stored = load_file(out / "prior.safetensors")
    assert not [name for name in stored if "lora" in name]
    again = MaskedLM(**tuned.experts[0].options).eval()
    again.load_state_dict({name.removeprefix("0."): v for name, v in stored.items()})
    x = tuned.codec.encode("abc").unsqueeze(0)
    with torch.no_grad():
        valid = torch.ones_like(x, dtype=torch.bool)
        assert torch.equal(again(x, valid), tuned.network(x, valid))


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    tmp_path: Path, prior: TokenPrior
) -> None:
    data, config = rows(prior), replace(CONFIG, steps=6, checkpoint_minutes=1e-9)
    whole = finetune(prior, data, out=tmp_path / "whole", config=config, tracker="")

    class StoppedError(Exception):
        pass

    def stop(step: Any) -> None:
        if step.index == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        finetune(prior, data, out=tmp_path / "cut", config=config, tracker="", callback=stop)
    cut = finetune(prior, data, out=tmp_path / "cut", config=config, tracker="", resume=True)
    for p, q in zip(whole.network.parameters(), cut.network.parameters(), strict=True):
        assert torch.equal(p, q)


def test_special_tokens_are_never_hidden(prior: TokenPrior) -> None:
    seen: list[Tensor] = []
    network = prior.network
    hook = network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    steps = loop(
        prior.learner(network.requires_grad_()), rows(prior, frame=(2, 3)),
        replace(CONFIG, steps=3),
    )  # fmt: skip
    assert all(step.loss < 100 for step in steps)
    hook.remove()
    ids = torch.cat(seen)
    assert bool((ids[:, 0] == 2).all())
    assert bool((ids[:, -1] == 3).all())
    assert bool((ids[:, 1:-1] == 4).any())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Towers, Bert, ModernBert, EuroBert])
def test_networks_from_scratch_learn(kind: Any) -> None:
    codec = Characters.from_text(LETTERS)
    sizes = {"width": 32, "heads": 2, "layers": 1, "hidden": 48}
    network = kind(tokens=codec.tokens, **sizes)
    prior = TokenPrior.of(
        [Expert("network", network, sizes)], Absorbing(codec.tokens), codec, plugin="text"
    )
    assert isinstance(prior.denoiser, TokenNetwork)
    config = replace(CONFIG, token_loss="infilling", muon=0.02)
    losses = [step.loss for step in loop(prior.learner(network), rows(prior), config)]
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])  # letters without context: 1.0
