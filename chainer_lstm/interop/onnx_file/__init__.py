"""Export of models as ONNX files with standard ``LSTM`` nodes; onnx is imported when needed."""

from chainer_lstm.interop.onnx_file.export import export_onnx

__all__ = ['export_onnx']
