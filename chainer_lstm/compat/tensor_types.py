"""The two tables that ``onnx_chainer`` imports from ``onnx.mapping``, which onnx has removed."""

from __future__ import annotations

from typing import Any

import numpy
from onnx import TensorProto, helper


class _TensorTypes:
    """Map dtypes to the tensor types of ONNX."""

    def __getitem__(self, dtype: Any) -> int:
        return helper.np_dtype_to_tensor_dtype(numpy.dtype(dtype))


NP_TYPE_TO_TENSOR_TYPE = _TensorTypes()

# the field that holds the values of a constant as numbers; other types hold them as raw bytes
STORAGE_TENSOR_TYPE_TO_FIELD = {
    TensorProto.FLOAT: 'float_data',
    TensorProto.DOUBLE: 'double_data',
    TensorProto.INT32: 'int32_data',
    TensorProto.INT64: 'int64_data',
    TensorProto.BOOL: 'int32_data',
}
