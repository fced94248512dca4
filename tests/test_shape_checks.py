"""Shapes in signatures are checked while tests run, of every function in its first calls."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from gradex import seeds
from gradex.surrogate.samples import Block
from gradex.tasks import TaskSuite
from tests import shape_checks

_INDICES = np.arange(3)

# For functions, methods of all kinds and records: how to call it, right and wrong.
CALLS: dict[str, tuple[Callable[[Any], object], Any, Any]] = {
    "function": (lambda keys: seeds.uniforms(keys, size=2), _INDICES, _INDICES[None]),
    "method": (lambda size: seeds.Streams([0]).uniforms(size), 2, "two"),
    "class method": (lambda name: TaskSuite.make(name, n=3), "navigation", 3),
    "record": (lambda rows: Block(_INDICES, rows, np.ones((3, 3)), np.ones(3)), _INDICES, _INDICES[None]),
}


@pytest.fixture(params=CALLS)
def call(request: pytest.FixtureRequest) -> tuple[Callable[[Any], object], Any, Any]:
    return CALLS[request.param]


def test_a_wrong_argument_is_caught(call: tuple[Callable[[Any], object], Any, Any]) -> None:
    function, right, wrong = call
    function(right)
    with pytest.raises(TypeCheckError):
        function(wrong)


def test_after_many_calls_a_function_rests_until_the_next_test(
    call: tuple[Callable[[Any], object], Any, Any],
) -> None:
    function, right, wrong = call
    for _ in range(shape_checks.FIRST_CALLS + 1):
        function(right)
    try:
        function(wrong)
    except Exception as error:
        assert not isinstance(error, TypeCheckError)
    shape_checks.start_again()
    with pytest.raises(TypeCheckError):
        function(wrong)
