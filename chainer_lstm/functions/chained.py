"""Nodes of time steps whose weight gradients are made for many steps at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

from chainer_lstm import kernels
from chainer_lstm.cells import Cell
from chainer_lstm.functions.chain import Chain
from chainer_lstm.functions.node import Node


class Chained(Node):
    """A node of a time step.

    A step hands the rows that its weight gradients are made of to the step
    before it, if that one has the same weights and will run later in the same
    backward pass.  The first step of the chain makes the gradients of all
    steps, one product for each weight.

    Attributes:
        cell: what it computes.
        names: of the inputs.
        weights: by name, (engine, rows) -> gradient.
    """

    cell: Cell
    names: Sequence[str]

    weights: Mapping[str, Callable[..., Any]]

    def weight_gradients(
        self,
        engine: kernels.Engine,
        rows: dict,
        inputs: Sequence,
        indexes: Sequence[int],
        before: Optional[Chained],
        given: Optional[dict],
    ) -> dict[int, Any]:
        """Return the gradients with respect to weights by index;
        those that ``before`` will make are left out.

        ``given`` is what ``passes.handed`` returns in ``backward``.
        """
        names, weights = self.names, self.weights
        if given is None:  # called outside of a backward pass
            given, before = {}, None
        chain = Chain.of(given.pop(id(self), {}))
        chain.append(rows)
        known = () if before is None else before.names  # weights that the step before has
        made, handed = {}, []
        for i in indexes:
            name = names[i]
            if name not in weights:
                continue
            if name in known:
                handed.append(name)
            else:
                gradient, weight = chain.gradient(engine, name, weights[name]), inputs[i]
                if gradient.shape != weight.shape:  # NumPy broadcasts, where types are not checked
                    raise ValueError(f'{name}: expected shape {gradient.shape}, got {weight.shape}')
                made[i] = gradient.astype(weight.dtype, copy=False)
        if handed:
            if chain.is_long():
                chain.fold(engine, {name: weights[name] for name in handed})
            given.setdefault(id(before), {})[id(self)] = chain
        return made

    def is_of_same_weights(self, before: Any) -> bool:
        """Return whether ``before`` is a step with the weights of this one;
        the first of a chain may lack those of a state.
        """
        if type(before) is not type(self) or before.cell != self.cell:
            return False
        if len(before.inputs) > len(self.inputs):
            return False
        weights = self.weights
        for name, mine, its in zip(self.names, self.inputs, before.inputs):
            if mine is not its and name in weights:
                return False
        return True
