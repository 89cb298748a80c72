"""A file in each format that Chainer writes."""

import functools

import pytest

from tests.support.files import FORMATS, Format


@pytest.fixture(params=FORMATS, ids=lambda format_: format_.name)
def file(request, tmp_path):
    """A file in each format: the functions with the path filled in."""
    name, *functions = request.param
    return Format(
        name, *(functools.partial(function, str(tmp_path / 'file')) for function in functions)
    )
