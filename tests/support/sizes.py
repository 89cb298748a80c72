"""What is no size: a value, the error, and what the message says."""

import pytest

NO_SIZES = (
    (0, ValueError, 'a positive integer, got 0'),
    (-1, ValueError, 'a positive integer, got -1'),
    (1.5, TypeError, 'a positive integer, got 1.5'),
    ('2', TypeError, "a positive integer, got '2'"),
    (None, TypeError, 'a positive integer, got None'),
    (True, TypeError, 'a positive integer, got True'),
)
SIZES = pytest.mark.parametrize(('size', 'error', 'message'), NO_SIZES)
