"""The precision that a caller has torch choose is not that of the results."""

import pytest
import torch

from gradex.tensors import without_autocast


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("on", [False, True])
def test_autocast_is_off_for_a_while_and_then_as_before(device: str, on: bool) -> None:
    started = torch.cuda.is_initialized()
    torch.set_autocast_enabled(device, on)
    try:
        with pytest.raises(KeyError), without_autocast():
            assert not torch.is_autocast_enabled(device)
            raise KeyError
        assert torch.is_autocast_enabled(device) == on
        assert torch.cuda.is_initialized() == started
    finally:
        torch.set_autocast_enabled(device, False)
