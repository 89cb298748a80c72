"""Chainer v1."""

import pytest

import chainer_lstm


@pytest.fixture
def v1():
    with chainer_lstm.installed(v1=True):
        yield
