"""Models of transformers with adapters of peft, built from small configurations: nothing is fetched."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from gradex.preferences import DirectPreferences, DPOGrouping
from tests.preferences.models import WORDS, pairs_of

pytestmark = [
    pytest.mark.skipif(find_spec("peft") is None, reason='pip install "gradex[language]"'),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]


@pytest.fixture(scope="module")
def adapted() -> torch.nn.Module:
    with pytest.MonkeyPatch.context() as patch:
        # Not needed here, and a release for another build of torch fails when it is imported.
        patch.setitem(sys.modules, "torchvision", None)
        from peft import LoraConfig, get_peft_model
        from transformers import LlamaConfig, LlamaForCausalLM

        sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            config = LlamaConfig(vocab_size=WORDS, **sizes, **heads, bos_token_id=1, eos_token_id=2)
            module = LlamaForCausalLM(config)
            lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], lora_dropout=0.5)
            return get_peft_model(module, lora)


def test_gradients_are_those_of_the_adapter_alone(adapted: torch.nn.Module) -> None:
    """They are those that autograd gives pair by pair, and dropout is off."""
    pairs = pairs_of(6)
    preferences = DirectPreferences(adapted, pairs, memory=2**16)
    trained = {name: each for name, each in adapted.named_parameters() if each.requires_grad}
    assert preferences.model.names == list(trained)
    assert all("lora" in name for name in trained)
    adapted.eval()
    batches = preferences.model.gradients(pairs, np.arange(6), torch.float32)
    found = torch.cat([each.dense() for each in batches])
    for row, each in enumerate(found):
        own_row = np.array([row])
        odds = preferences._log_odds(adapted, (pairs.first.chosen(own_row), pairs.second.chosen(own_row)))
        own = torch.autograd.grad(odds.sum(), list(trained.values()))
        expected = torch.cat([gradient.flatten() for gradient in own])
        torch.testing.assert_close(each, expected, rtol=1e-4, atol=1e-6)


def test_adapters_are_trained_for_groups(adapted: torch.nn.Module) -> None:
    settings = {"bootstrap": 0, "subsets": None, "subset_size": 2, "learning_rate": 0.02}
    grouping = DPOGrouping(k=2, steps=30, **settings).fit(adapted, pairs_of(60))
    assert grouping.groups_ == ((0, 2), (1, 3))
    table = grouping.evaluate()
    assert (table.loss < table.loss_at_start).all()
    assert all("lora" in name for name in grouping.adapter(0))
