"""Programs of Chainer v1 compute what they computed there."""

import numpy
import pytest

import chainer_lstm
from tests.compat.v1_numbers import NUMBERS, v1_cases

# v1 added eps to the running variance
TOLERANCES = {'batch_normalization': 3e-5}


@pytest.mark.filterwarnings(
    'ignore::DeprecationWarning'
)  # v1 warned of zero_grads and the like, too
@pytest.mark.parametrize('name', v1_cases.CASES)
def test_numbers(name):
    with chainer_lstm.installed(v1=True):
        found = v1_cases.run(name)
    assert_close(found, NUMBERS[name], TOLERANCES.get(name, 2e-6))


def assert_close(found, expected, tolerance):
    """Floating-point numbers nearly, all else exactly."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert found['shape'] == expected['shape']
        scale = max(1, *map(abs, expected['values']))
        numpy.testing.assert_allclose(
            found['values'], expected['values'], rtol=tolerance, atol=tolerance * scale
        )
        numpy.testing.assert_allclose(
            found['sum'], expected['sum'], rtol=tolerance, atol=10 * tolerance * scale
        )
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for each, other in zip(found, expected):
            assert_close(each, other, tolerance)
    elif isinstance(expected, float):
        numpy.testing.assert_allclose(found, expected, rtol=tolerance)
    else:
        assert found == expected
