"""The weights of a cell for which Chainer has no link."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Optional

import chainer
from chainer import Parameter

from chainer_lstm import initializers
from chainer_lstm.cells import Cell
from chainer_lstm.chainer_private import initializer
from chainer_lstm.functions.checks import size
from chainer_lstm.links import parameters
from chainer_lstm.links.loading import CheckedLoading


class CellWeights(CheckedLoading):
    """The weights of a cell, as parameters with the cell's names.

    The link is not callable: a link that computes uses ``cell_weights`` inside of ``sized_for``.

    Args:
        cell: the cell.
        in_size: I, or None to take it from the first input.
        out_size: H, the number of units.
        lateral_init: initializer of the matrices of states.  Default: ``LeCunNormal``.
        upward_init: initializer of ``W``.  Default: ``LeCunNormal``.
        bias_init: initializer of the biases.  Default: 0.  Weights in ``cell.initial`` start from
            the numbers there.
        forget_bias_init: initializer of the bias of the gate ``cell.forget``.  Default:
            ``chainer.config.lstm_forget_bias``, which is 1.

    Attributes:
        cell, out_size: as above.
        W, b, …: the parameters, of the shapes of ``Cell.shapes``.

    Raises:
        TypeError: cell is not a cell, a size is not an integer, or an initializer not callable.
        ValueError: a size is not positive, or ``forget_bias_init`` is given for a cell without a
            forget gate.
    """

    def __init__(
        self,
        cell: Cell,
        in_size: Optional[int],
        out_size: int,
        lateral_init: Any = None,
        upward_init: Any = None,
        bias_init: Any = None,
        forget_bias_init: Any = None,
    ) -> None:
        super().__init__()
        if not isinstance(cell, Cell):
            raise TypeError(f'expected cell to be a chainer_lstm.cells.Cell, got {cell!r}')
        in_size = size('in_size', in_size, optional=True)
        self.cell = cell
        self.out_size = size('out_size', out_size)
        initializers.check(lateral_init=lateral_init, upward_init=upward_init, bias_init=bias_init)
        bias = self._bias_init(bias_init, forget_bias_init)
        with self.init_scope():
            for name, shape in cell.shapes(in_size or 0, self.out_size).items():
                if hasattr(self, name):
                    raise ValueError(f'expected weights other than attributes of links, got {name}')
                init: Any
                if name == 'b':
                    init = bias
                elif name in cell.initial:
                    init = cell.initial[name]
                elif len(shape) == 1:
                    init = 0 if bias_init is None else bias_init
                else:
                    init = upward_init if name == 'W' else lateral_init
                waits = name == 'W' and in_size is None
                setattr(self, name, Parameter(initializer(init), None if waits else shape))

    def _bias_init(self, bias_init: Any, forget_bias_init: Any) -> Any:
        """Return the initializer of ``b``."""
        cell = self.cell
        if cell.forget is None:
            if forget_bias_init is not None:
                raise ValueError(
                    f'expected no forget_bias_init of {cell.name}, which has no forget gate'
                )
            return 0 if bias_init is None else bias_init
        if forget_bias_init is None:
            forget_bias_init = chainer.config.lstm_forget_bias
        return initializers.GateBias(bias_init, forget_bias_init, cell.inputs)

    @property
    def weight_keys(self) -> dict[str, str]:
        """The keys of the cell's weights in files, by name."""
        return {name: name for name in self.cell.weights}

    @property
    def input_rows(self) -> int:
        """The number of rows of ``W``, for ``loading.check`` before ``W`` is initialized."""
        return len(self.cell.inputs) * self.out_size

    def cell_weights(self) -> tuple[Any, ...]:
        """Return the parameters of the cell, in the order of ``Cell.weights``."""
        return tuple(getattr(self, name) for name in self.cell.weights)

    def is_as_made(self) -> bool:
        """Return whether the link has no hooks; they would never run."""
        return not self.local_link_hooks

    def sized_for(self, x: Any) -> AbstractContextManager[None]:
        """Initialize the parameters that wait for the size of x, see ``parameters.sized_for``."""
        return parameters.sized_for(x, self, self._initialize, self.W)

    def _initialize(self, in_size: int) -> None:
        self.W.initialize((self.input_rows, in_size))
