"""Caffe's protobuf messages for Chainer's Caffe importer and exporter.

protobuf 4 and later refuse the code in Chainer's ``caffe_pb2.py``, which an old compiler generated.
The serialized descriptor in that file is still valid: the messages are built from it, in the way
that code of today's compiler builds them.
"""

from __future__ import annotations

import ast
import pathlib

import chainer
from google.protobuf import descriptor_pool
from google.protobuf.internal import builder

_GENERATED = pathlib.Path(chainer.__path__[0], 'links/caffe/protobuf3/caffe_pb2.py')


def _serialized_descriptor() -> bytes:
    """Return the literal ``serialized_pb=_b('...')`` of Chainer's ``caffe_pb2.py``."""
    for node in ast.walk(ast.parse(_GENERATED.read_text(encoding='utf-8'))):
        if (
            isinstance(node, ast.keyword)
            and node.arg == 'serialized_pb'
            and isinstance(node.value, ast.Call)
        ):
            return ast.literal_eval(node.value.args[0]).encode('latin1')
    raise ImportError(f'{_GENERATED}: expected a serialized descriptor, got none')


DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(_serialized_descriptor())
builder.BuildMessageAndEnumDescriptors(DESCRIPTOR, globals())
builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, __name__, globals())
