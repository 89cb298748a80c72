"""Function objects such as ``F.ReLU()``, which programs called as the functions themselves."""

from __future__ import annotations

import sys
from typing import Any

from chainer import function, function_node
from chainer import functions as F

from chainer_lstm.compat.replacements import Replacements, original_of


def install(replacements: Replacements) -> None:
    """Add the classes of functions to ``chainer.functions``, and let their objects be called."""
    replacements.set(function_node.FunctionNode, '__call__', call)
    for name, module in list(sys.modules.items()):
        if not name.startswith('chainer.functions.'):
            continue
        for each, cls in list(vars(original_of(module)).items()):
            if _is_function(cls) and cls.__module__ == name and not hasattr(F, each):
                replacements.set(F, each, cls)


def call(self: function_node.FunctionNode, *inputs: Any) -> Any:
    """Return the output, or a tuple of several."""
    outputs = self.apply(inputs)
    return outputs[0] if len(outputs) == 1 else outputs


def _is_function(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(
        cls, (function.Function, function_node.FunctionNode)
    )
