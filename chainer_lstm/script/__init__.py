"""Run old Chainer programs as they are: ``python -m chainer_lstm script.py``."""
