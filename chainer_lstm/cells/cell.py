"""The contract of a cell: states, weights, products and one time step in array code."""

from __future__ import annotations

import collections
import dataclasses
import functools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Optional

from chainer_lstm.arrays import Array
from chainer_lstm.cells.normalization import Norm
from chainer_lstm.cells.stages import Names, Product, Stage


class _Frozen:
    """Refuse attributes that are not fields: cells with equal fields are interchangeable."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise dataclasses.FrozenInstanceError(
            f'expected {name} to be a field of a frozen dataclass, got an assignment'
        )


@dataclasses.dataclass(frozen=True)
class Cell(_Frozen):
    """One time step of a recurrent network: the base class of every cell.

    The input x (B, I) is multiplied by ``W`` (G H, I) and ``b`` (G H,) is added, for the G gates in
    ``inputs``: gate g of unit u is row G u + g.  States (B, H) are read by ``products`` and by
    ``forward``.  The last state, named h, is the output.

    A cell whose array code does not read h can be projected (Sak et al., 2014), as
    ``LSTM(outputs=P)``: ``forward`` then computes m (B, H), and h = m Vᵀ (B, P) with an additional
    weight ``V`` (P, H).  ``backward`` gets the gradient with respect to m.

    ``forward`` and ``backward`` use only functions and operators that NumPy, CuPy and
    ``chainer.functions`` have in common; ``xp`` is one of these modules.  Gates and states are
    named tuples of arrays (B, H), such as ``gates.f`` and ``before.c``.  ``State`` is the class of
    the states; a missing state is None.

    ``backward(xp, gates, before, new, gradients, **more)`` gets the activated gates, the states in
    ``reads`` before the step, the states in ``needs`` after it, and the gradients with respect to
    the new states, some of which may be the number 0.  It returns the gradients with respect to the
    gates before activation, in the order of ``gates``, and the ``State`` of gradients with respect
    to ``reads``, without the gradients through ``products``; and for ``vectors`` a sequence with an
    array (B, H) for each, whose sum over B is the gradient.  A cell without ``backward`` is
    differentiated by Chainer, step by step.  Neither method may write into its arguments.

    Hyperparameters are fields: a subclass with hyperparameters is a frozen dataclass itself.  If
    the attributes below depend on them, ``__post_init__`` passes the attributes to ``declare``.

    Args:
        outputs: P, the width of a projected h, or None for H.

    Attributes:
        name: the name of the cell, a Python identifier.
        gates: the names of the gates.
        inputs: the gates to which x Wᵀ + b is added.  Default: all.
        states: the names of the states, ('c', 'h') or ('h',).
        products: the products that are added to the gates before ``forward``.
        reads: the states that ``forward`` reads, besides products.  Default: all.
        needs: the new states that ``backward`` reads.  Default: all.
        noise: the names of random arrays from ``draw``, which ``forward`` and ``backward`` get as
            keyword arguments in training.
        sequence_noise: the names of random arrays from ``draw_sequence``, which are the same at
            all steps of a sequence.
        numbers: the hyperparameters that a compiled form reads, by name; the first replace each of
            ``noise`` in evaluation.
        input_norm: the normalization of x Wᵀ before b is added; None for none.
        vectors: the names of weights (H,) that ``forward`` and ``backward`` get as keyword
            arguments, and their initial values.
        forget: the gate whose bias is initially ``chainer.config.lstm_forget_bias``, or None.
        replays: whether ``chainer.static_graph`` can replay ``forward``; it cannot replay
            functions such as ``clip``.

    Raises:
        TypeError: ``outputs`` is not an integer.
        ValueError: ``outputs`` is not positive, or the array code reads h.
    """

    outputs: Optional[int] = dataclasses.field(default=None, kw_only=True)

    name: ClassVar[str]
    gates: ClassVar[Names]
    inputs: ClassVar[Names] = ()
    states: ClassVar[Names] = ('c', 'h')
    products: ClassVar[Sequence[Product]] = ()
    reads: ClassVar[Names] = ()
    needs: ClassVar[Names] = ()
    noise: ClassVar[Names] = ()
    forget: ClassVar[Optional[str]] = None
    replays: ClassVar[bool] = True
    sequence_noise: ClassVar[Names] = ()
    numbers: ClassVar[Mapping[str, float]] = types.MappingProxyType({})
    input_norm: ClassVar[Optional[Norm]] = None
    vectors: ClassVar[Mapping[str, float]] = types.MappingProxyType({})
    State: ClassVar[Callable[..., Any]]
    Gates: ClassVar[Callable[..., Any]]
    backward: ClassVar[Optional[Callable[..., Any]]] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # a class with other gates or states derives its defaults from them, not from its base
        for name, default in _DEFAULTS:
            given = vars(cls)
            if name not in given and (default in given or not getattr(cls, name)):
                setattr(cls, name, getattr(cls, default))
        for name, value in _derived(cls).items():
            setattr(cls, name, value)

    def declare(self, **attributes: Any) -> None:
        """Set attributes of the class that depend on fields, in ``__post_init__``.

        Args:
            **attributes: among ``name``, ``gates``, ``inputs``, ``products``, ``reads``,
                ``needs``, ``noise``, ``sequence_noise``, ``numbers``, ``input_norm``,
                ``vectors`` and ``replays``.

        Raises:
            TypeError: a name is not that of a gate or state.
        """
        for name, default in _DEFAULTS:
            if default in attributes:
                attributes.setdefault(name, attributes[default])
        vars(self).update(attributes)
        vars(self).update(_derived(self))

    def __post_init__(self) -> None:
        if self.outputs is None:
            return
        is_integer = hasattr(self.outputs, '__index__') and not isinstance(self.outputs, bool)
        if not is_integer or self.outputs < 1:
            error = ValueError if is_integer else TypeError
            raise error(f'expected outputs to be a positive integer, got {self.outputs!r}')
        first, *later = self.stages
        others = [product for stage in later for product in stage.products]
        others += [product for product in first.products if product.diagonal]
        read = [name for stage in self.stages for name in (*stage.reads, *stage.needs)]
        if self.states[-1] in (*read, *(product.state for product in others)):
            raise ValueError(
                f'expected outputs of a cell whose array code does not read {self.states[-1]}, '
                f'got {self.name}'
            )

    def forward(self, xp: Any, gates: Any, before: Any, **more: Array) -> tuple[Any, Any]:
        """Compute one time step.

        Args:
            xp: the module of array functions.
            gates: the sums of x Wᵀ + b and of the products, by name, (B, H) each.
            before: the states before the step, (B, H) each.
            **more: in training the arrays of ``noise`` and ``sequence_noise``, (B, H); the weights
                of diagonal products of new states, and ``vectors``, (H,).

        Returns:
            The activated gates, all that ``backward`` needs, in the order of ``gates``; and the
            new ``State``.
        """
        raise NotImplementedError(f'forward of {type(self).__name__}')

    def draw(self, xp: Any, shape: tuple[int, int], dtype: Any) -> Sequence[Array]:
        """Return the arrays of ``noise`` (P, H) for P rows.

        They are drawn once for each call in training, and reused if the call is computed again, as
        for double backprop.
        """
        return ()

    def draw_sequence(self, xp: Any, shape: tuple[int, int], dtype: Any) -> Sequence[Array]:
        """Return the arrays of ``sequence_noise`` (B, H) for B sequences, or rows of a single
        step; (B, P) if they mask products of a projected h.
        """
        return ()

    def __reduce__(self) -> Any:
        """Pickle and copy only the fields; attributes are derived from them."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return functools.partial(type(self), **fields), ()

    @functools.cached_property
    def is_random(self) -> bool:
        """Whether the cell has noise."""
        return bool(self.noise or self.sequence_noise)

    @functools.cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of a step; a subclass may have two."""
        return (
            Stage(
                self.products,
                self.gates,
                self.reads,
                self.states,
                self.needs,
                self.forward,
                self.backward,
                tuple(self.vectors),
            ),
        )

    @functools.cached_property
    def weights(self) -> tuple[str, ...]:
        """The names of the weights, in the order in which functions take them.

        ``W`` and ``b`` come first, then the matrices of the products, the projection, the biases of
        products, the gains of normalized products (x first), and ``vectors``.
        """
        products = [product for stage in self.stages for product in stage.products]
        biases = [product.bias for product in products if product.bias is not None]
        projections = () if self.projection is None else (self.projection,)
        gains = [norm.gain for norm in self.norms]
        matrices = [product.weight for product in products]
        names = ('W', 'b', *matrices, *projections, *biases, *gains, *self.vectors)
        later = [gate for stage in self.stages[1:] for gate in stage.gates]
        taken = ['x', *self.states, *later, *names]
        if len({*taken}) < len(taken):
            raise ValueError(
                'expected weights of different names, other than x, states and gates of a second '
                f'stage, got {names}'
            )
        return names

    @functools.cached_property
    def lateral(self) -> Product:
        """The first product that is added to all gates; in most cells that of h."""
        products = [product for stage in self.stages for product in stage.products]
        return next(each for each in products if each.gates == self.gates)

    @functools.cached_property
    def norms(self) -> tuple[Norm, ...]:
        """The normalizations, the one of x Wᵀ first."""
        products = [product for stage in self.stages for product in stage.products]
        norms = [self.input_norm, *(product.norm for product in products)]
        return tuple([norm for norm in norms if norm is not None])

    @functools.cached_property
    def initial(self) -> dict[str, float]:
        """The initial values of weights other than matrices and biases, by name."""
        products = [product for stage in self.stages for product in stage.products]
        found = {product.weight: 0.0 for product in products if product.diagonal}
        found.update((norm.gain, 1.0) for norm in self.norms)
        return {**found, **self.vectors}

    @property
    def projection(self) -> Optional[str]:
        """The name of the weight (P, H) of a projection, or None."""
        return None if self.outputs is None else 'V'

    @functools.cached_property
    def unprojected(self) -> Cell:
        """The cell without a projection."""
        return self if self.outputs is None else dataclasses.replace(self, outputs=None)

    def width(self, state: str, units: int) -> int:
        """Return the width of a state by name, for so many units."""
        return units if self.outputs is None or state != self.states[-1] else self.outputs

    @functools.cached_property
    def has_backward(self) -> bool:
        """Whether all of its stages have a ``backward``."""
        return all(stage.backward is not None for stage in self.stages)

    def shapes(self, inputs: int, units: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight by name, for so many inputs and units."""
        found: dict[str, tuple[int, ...]] = {
            'W': (len(self.inputs) * units, inputs),
            'b': (len(self.inputs) * units,),
            **dict.fromkeys(self.vectors, (units,)),
        }
        if self.input_norm is not None:
            found[self.input_norm.gain] = found['b']
        for stage in self.stages:
            for product in stage.products:
                rows = len(product.gates) * units
                width = self.width(product.state, units)
                found[product.weight] = (units,) if product.diagonal else (rows, width)
                norm = product.norm
                for name in (product.bias, None if norm is None else norm.gain):
                    if name is not None:
                        found[name] = (rows,)
        if self.projection is not None:
            found[self.projection] = (self.width(self.states[-1], units), units)
        return {name: found[name] for name in self.weights}


# attributes whose default is another attribute
_DEFAULTS = (('inputs', 'gates'), ('reads', 'states'), ('needs', 'states'))


def _derived(cell: Any) -> dict[str, Any]:
    """Return the attributes derived from the declared ones, of a cell or of a class of cells.

    Raises:
        TypeError: the states are not allowed, or a name is not that of a gate, state or noise.
    """
    gates, states = tuple(cell.gates), tuple(cell.states)
    if states not in (('c', 'h'), ('h',)):
        raise TypeError(f"expected states ('c', 'h') or ('h',), got {states}")
    noise = (*cell.noise, *cell.sequence_noise)
    masks = [product.mask for product in cell.products if product.mask is not None]
    for kind, given, known in (
        ('inputs', cell.inputs, gates),
        ('reads', cell.reads, states),
        ('needs', cell.needs, states),
        *(('gates of a product', product.gates, gates) for product in cell.products),
        ('states of products', [product.state for product in cell.products], states),
        ('masks of products', masks, noise),
    ):
        if not {*given} <= {*known}:
            raise TypeError(f'expected {kind} to be of {known}, got {tuple(given)}')
    return {'gates': gates, 'states': states, 'State': state_of(states), 'Gates': _gates_of(gates)}


@functools.cache
def _gates_of(names: tuple[str, ...]) -> Callable[..., Any]:
    return collections.namedtuple('Gates', names)


@functools.cache
def state_of(names: tuple[str, ...]) -> Callable[..., Any]:
    """Return the named tuple class of states with these names; each value defaults to None."""
    return collections.namedtuple('State', names, defaults=(None,) * len(names))


def sigmoid(xp: Any, x: Array) -> Array:
    """Return the logistic function of x, computed by tanh so that it cannot overflow.

    Args:
        xp: the module of array functions: NumPy, CuPy or ``chainer.functions``.
        x: an array or variable of any shape.
    """
    return xp.tanh(x * 0.5) * 0.5 + 0.5
