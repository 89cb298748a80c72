"""The programs of ``v1_cases``, imported as Chainer v1 would, and what they computed there."""

import json
import pathlib

import chainer_lstm

with chainer_lstm.installed(v1=True):
    from tests.compat import v1_cases

__all__ = ['NUMBERS', 'v1_cases']

# of Chainer 1.24.0, NumPy 1.16, Python 3.6: v1_cases.py writes it
NUMBERS = json.loads(pathlib.Path(__file__).with_name('v1_numbers.json').read_text())
