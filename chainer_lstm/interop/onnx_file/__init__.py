"""Models as ONNX files of standard ``LSTM`` nodes; onnx is imported when it is asked for."""

from chainer_lstm.interop.onnx_file.export import export_onnx

__all__ = ['export_onnx']
