"""highway-env brings pygame-ce and MO-Gymnasium pygame, into the same folder: all must still import."""

import importlib
import importlib.util
import warnings

import pytest


@pytest.mark.parametrize("module", ["highway_env", "mo_gymnasium", "pygame"])
def test_users_of_pygame_import(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    with warnings.catch_warnings():
        # What these packages warn of while they are imported is not ours to mend.
        warnings.simplefilter("ignore")
        importlib.import_module(module)
