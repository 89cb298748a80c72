"""Weights from files and objects of many frameworks, to and from torch, Keras and separate gates,
and models to ONNX.
"""

from chainer_lstm.interop.gates import from_gates, to_gates
from chainer_lstm.interop.keras_weights import from_keras, to_keras
from chainer_lstm.interop.loading import load
from chainer_lstm.interop.onnx_file import export_onnx
from chainer_lstm.interop.torch_module import from_torch, state_from_torch, state_to_torch, to_torch
from chainer_lstm.interop.weights import convert

__all__ = [
    'convert',
    'export_onnx',
    'from_gates',
    'from_keras',
    'from_torch',
    'load',
    'state_from_torch',
    'state_to_torch',
    'to_gates',
    'to_keras',
    'to_torch',
]
