"""Child seeds and counter-based random streams."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gradex.seeds import Streams, child, derive, generator_for, uniforms
from gradex.settings import LARGEST_SEED

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(z: int) -> int:
    """SplitMix64's finaliser in Python's integers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def slow_child(seed: int, purpose: str, number: int) -> int:
    named = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")
    key = mix((mix(seed * GOLDEN & MASK) + named * GOLDEN) & MASK)
    return mix((mix(key * GOLDEN & MASK) + number * GOLDEN) & MASK) % 2**62


def slow_uniforms(seed: int, branch: int, size: int) -> list[float]:
    key = mix((mix(seed * GOLDEN & MASK) + branch * GOLDEN) & MASK)
    return [((mix((key + i * GOLDEN) & MASK) >> 12) + 0.5) / 2**52 for i in range(1, size + 1)]


def test_numbers_are_those_of_the_slow_version() -> None:
    seeds, branches = np.array([0, 1, 12345, 2**31 - 1]), np.array([0, 3, 1, 2])
    expected = [slow_uniforms(int(s), int(b), 5) for s, b in zip(seeds, branches, strict=True)]
    np.testing.assert_array_equal(uniforms(derive(seeds, branches), 5), expected)


def test_a_stream_does_not_depend_on_its_company() -> None:
    many = uniforms(derive(np.arange(50), 2), 7)
    np.testing.assert_array_equal(many[17:18], uniforms(derive(np.array([17]), 2), 7))
    np.testing.assert_array_equal(many[:, :3], uniforms(derive(np.arange(50), 2), 3))


def test_numbers_look_uniform_and_independent() -> None:
    numbers = np.stack([uniforms(derive(np.arange(200), branch), 20) for branch in range(10)])
    assert 0 < numbers.min()
    assert numbers.max() < 1
    assert len(np.unique(numbers)) == numbers.size
    assert stats.kstest(numbers.reshape(-1), "uniform").pvalue > 0.01
    # Neighbours along seeds, branches and positions are uncorrelated.
    for axis in range(3):
        one, other = np.delete(numbers, 0, axis).reshape(-1), np.delete(numbers, -1, axis).reshape(-1)
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(one.size)


def test_streams_of_policies() -> None:
    together, alone = Streams([4, 9, 4]), Streams([9])
    first, second = together.uniforms(2, 3), together.normals(1000)
    assert first.shape == (3, 2, 3)
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(first[1], alone.uniforms(2, 3)[0])
    np.testing.assert_array_equal(second[1], alone.normals(1000)[0])
    assert stats.kstest(second[1], "norm").pvalue > 0.01
    assert not np.array_equal(Streams([4], branch=1).uniforms(3), Streams([4], branch=2).uniforms(3))
    assert len(together) == 3


@given(seed=st.integers(0, 2**62), purpose=st.text(), number=st.integers(0, 2**62))
def test_children_are_those_of_the_slow_version(seed: int, purpose: str, number: int) -> None:
    assert child(seed, purpose, number) == slow_child(seed, purpose, number) <= LARGEST_SEED


def test_no_two_purposes_share_a_generator() -> None:
    keys = [(seed, purpose, number) for seed in range(50) for purpose in "abcde" for number in range(50)]
    assert len({child(*key) for key in keys}) == len(keys)
    numbers = np.stack(
        [generator_for(7, purpose, n).standard_normal(5_000) for purpose in "abc" for n in (0, 1)]
    )
    correlation = np.corrcoef(numbers)[np.triu_indices(len(numbers), 1)]
    assert np.abs(correlation).max() < 4.5 / np.sqrt(5_000)
    np.testing.assert_array_equal(generator_for(7, "a").random(3), generator_for(7, "a").random(3))


@pytest.mark.parametrize("length", [1, 4])
def test_a_longer_draw_begins_with_a_shorter_one(length: int) -> None:
    short, long = Streams([1, 2]), Streams([1, 2])
    np.testing.assert_array_equal(short.uniforms(length), long.uniforms(9)[:, :length])
    np.testing.assert_array_equal(short.uniforms(2), long.uniforms(2))


@given(
    seeds=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5),
    shapes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=4),
    more=st.integers(0, 5),
)
def test_company_and_length_never_matter(seeds: list[int], shapes: list[tuple[int, int]], more: int) -> None:
    together = Streams(seeds, branch=1)
    alone = [Streams([seed], branch=1) for seed in seeds]
    for rows, columns in shapes:
        numbers = together.uniforms(rows, columns)
        for index, stream in enumerate(alone):
            longer = stream.uniforms(rows + more, columns)
            np.testing.assert_array_equal(numbers[index], longer[0, :rows])


def test_successive_draws_and_branches_are_uncorrelated() -> None:
    size = 20_000
    streams = [Streams([7], branch) for branch in range(3)]
    draws = np.stack([stream.normals(size)[0] for stream in streams for _ in range(3)])
    correlation = np.corrcoef(draws)[np.triu_indices(len(draws), 1)]
    assert np.abs(correlation).max() < 4.5 / np.sqrt(size)


def test_normals_are_the_quantiles_of_uniforms() -> None:
    np.testing.assert_allclose(
        Streams([3]).normals(2, 50), stats.norm.ppf(Streams([3]).uniforms(2, 50)), rtol=1e-12
    )
