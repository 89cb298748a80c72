"""Links of Chainer v1: constructors, initial weights, order of parameters, ``FunctionSet``."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Optional

import chainer
import numpy
from chainer import functions as F
from chainer import initializers, link
from chainer import links as L

from chainer_lstm.arrays import Array
from chainer_lstm.chainer_private import initializer as initializer_of
from chainer_lstm.compat.replacements import Replacements
from chainer_lstm.compat.v1.arguments import taking

# v1's arguments of constructors; cuDNN's are ignored, because today's CuPy has no cuDNN
_OLD = ('wscale', 'bias', 'train', 'use_cudnn', 'deterministic')

# link -> arguments of its constructor
CONSTRUCTORS = {
    'BatchNormalization': 'self size decay eps dtype use_gamma use_beta initial_gamma '
    'initial_beta use_cudnn',
    'Convolution2D': 'self in_channels out_channels ksize stride pad wscale bias nobias '
    'use_cudnn initialW initial_bias deterministic',
    'ConvolutionND': 'self ndim in_channels out_channels ksize stride pad initialW initial_bias '
    'use_cudnn cover_all',
    'Deconvolution2D': 'self in_channels out_channels ksize stride pad wscale bias nobias outsize '
    'use_cudnn initialW initial_bias deterministic',
    'DeconvolutionND': 'self ndim in_channels out_channels ksize stride pad outsize initialW '
    'initial_bias use_cudnn',
    'DilatedConvolution2D': 'self in_channels out_channels ksize stride pad dilate wscale bias '
    'nobias use_cudnn initialW initial_bias',
    'Linear': 'self in_size out_size wscale bias nobias initialW initial_bias',
    'Maxout': 'self in_size out_size pool_size wscale initialW initial_bias',
    'StatefulZoneoutLSTM': 'self in_size out_size c_ratio h_ratio train',
    **{
        f'NStep{name}': 'self n_layers in_size out_size dropout use_cudnn'
        for name in (
            'LSTM',
            'BiLSTM',
            'GRU',
            'BiGRU',
            'RNNReLU',
            'RNNTanh',
            'BiRNNReLU',
            'BiRNNTanh',
        )
    },
}

# links that were functions with parameters before v1.5
PARAMETRIC = (
    'BatchNormalization', 'Bilinear', 'BinaryHierarchicalSoftmax', 'Convolution2D',
    'DilatedConvolution2D', 'EmbedID', 'Inception', 'InceptionBN', 'Linear', 'NegativeSampling',
    'Parameter', 'PReLU',
)  # fmt: skip


class GRU(L.StatelessGRU):
    """v1's GRU, which keeps no state: ``h = gru(h, x)``.

    Args:
        n_units: H, the number of units.
        n_inputs: I, or None for H.
        init, inner_init, bias_init: as in ``StatelessGRU``.
    """

    def __init__(
        self,
        n_units: int,
        n_inputs: Optional[int] = None,
        init: Any = None,
        inner_init: Any = None,
        bias_init: Any = 0,
    ) -> None:
        super().__init__(
            n_units if n_inputs is None else n_inputs, n_units, init, inner_init, bias_init
        )


class FunctionSet(chainer.Chain):
    """v1's chain whose links are registered by setting an attribute, in the order of setting."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not isinstance(value, link.Link) or self.within_init_scope:
            super().__setattr__(name, value)
        elif name in self._children:
            value.name = name
            super().__setattr__(name, value)
        else:
            with self.init_scope():
                super().__setattr__(name, value)

    def collect_parameters(self) -> FunctionSet:
        """Return the set itself, which ``optimizer.setup`` takes."""
        return self

    def copy_parameters_from(self, params: Iterable[Array]) -> None:
        """Copy the values of arrays, in the order of ``parameters``."""
        for parameter, array in zip(self.params(), params):
            parameter.copydata(chainer.Variable(array))

    @property
    def parameters(self) -> tuple:
        """Return the arrays of all parameters."""
        return tuple(parameter.array for parameter in self.params())

    @parameters.setter
    def parameters(self, arrays: Iterable[Array]) -> None:
        self._set('array', arrays)

    @property
    def gradients(self) -> tuple:
        """Return the arrays of all gradients, in the order of ``parameters``."""
        return tuple(parameter.grad for parameter in self.params())

    @gradients.setter
    def gradients(self, arrays: Iterable[Array]) -> None:
        self._set('grad', arrays)

    def _set(self, name: str, arrays: Iterable[Array]) -> None:
        parameters, arrays = list(self.params()), list(arrays)
        if len(arrays) != len(parameters):
            raise ValueError(
                f'expected {len(parameters)} arrays, one a parameter; got {len(arrays)}'
            )
        for parameter, array in zip(parameters, arrays):
            setattr(parameter, name, array)


def install(replacements: Replacements) -> None:
    """Let links be made as in v1."""
    for name, names in CONSTRUCTORS.items():
        cls = getattr(L, name)
        init = _DEFAULTS[name](cls.__init__) if name in _DEFAULTS else cls.__init__
        replacements.set(cls, '__init__', taking(names, _OLD, _initialized)(init))
    zoneout = L.StatefulZoneoutLSTM
    replacements.set(zoneout, '__call__', _in_its_mode(zoneout.__call__))
    for module in (chainer, initializers):
        replacements.set(module, 'init_weight', init_weight)
    replacements.set(L, 'GRU', GRU)
    for name in PARAMETRIC:
        replacements.set(F, name, getattr(L, name))
    replacements.set(chainer, 'FunctionSet', FunctionSet)
    replacements.set(link.Link, 'add_param', _add_param(link.Link.add_param))
    replacements.set(link.Link, 'add_uninitialized_param', add_uninitialized_param)
    replacements.set(link.Link, 'has_uninitialized_params', property(_has_uninitialized_params))
    for cls in (link.Link, link.Chain, link.ChainList):
        replacements.set(cls, 'params', _params)
        replacements.set(cls, 'namedparams', _namedparams)


def init_weight(weights: Array, initializer: Any, scale: float = 1.0) -> None:
    """Fill an array by an initializer, a number, an array or, for None, v1's default."""
    initializer_of(initializer)(weights)
    weights *= scale


def add_uninitialized_param(self: link.Link, name: str) -> None:
    """Register a parameter whose shape ``add_param`` gives later, or a file that is loaded."""
    if name in vars(self):
        raise AttributeError(f'expected the name of a new parameter, got {name!r}, which exists')
    with self.init_scope():
        setattr(self, name, chainer.Parameter())


def _has_uninitialized_params(self: link.Link) -> bool:
    return any(not vars(self)[name].is_initialized for name in self._params)


def _add_param(add_param: Callable) -> Callable:
    @functools.wraps(add_param)
    def call(
        self: link.Link,
        name: str,
        shape: Any = None,
        dtype: Any = numpy.float32,
        initializer: Any = None,
    ) -> None:
        parameter = vars(self).get(name)
        if name in self._params and not parameter.is_initialized:
            parameter.initializer = initializers.NaN(dtype) if initializer is None else initializer
            parameter.initialize(shape)
        else:
            add_param(self, name, shape, dtype, initializer)

    return call


def _initialized(init: Callable, args: tuple, kwargs: dict, given: dict[str, Any]) -> None:
    """Make a link whose weights have v1's scale: the square root of ``wscale``."""
    scale = math.sqrt(given.get('wscale', 1))
    if scale != 1:
        kwargs['initialW'] = _scaled(kwargs.get('initialW'), scale)
    if kwargs.get('initial_bias') is None and given.get('bias', 0) != 0:
        kwargs['initial_bias'] = given['bias']
    init(*args, **kwargs)
    if 'train' in given:
        args[0].train = given['train']


def _scaled(initializer: Any, scale: float) -> Any:
    if initializer is None:
        return initializers.LeCunNormal(scale)
    if not callable(initializer):
        return initializer * scale

    def initialize(array: Array) -> None:
        initializer(array)
        array *= scale

    return initialize


def _zero_variance(init: Callable) -> Callable:
    """Start the moving average of variances with 0, as v1 did."""

    @functools.wraps(init)
    def __init__(self: L.BatchNormalization, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **{'initial_avg_var': 0, **kwargs})

    return __init__


def _bias_if_initial(default: Any) -> Callable:
    """Make a convolution in N dimensions without a bias if the bias's initial value is None."""

    def decorate(init: Callable) -> Callable:
        @functools.wraps(init)
        def __init__(self: link.Link, *args: Any, **kwargs: Any) -> None:
            kwargs.setdefault('nobias', kwargs.get('initial_bias', default) is None)
            init(self, *args, **kwargs)

        return __init__

    return decorate


_DEFAULTS = {
    'BatchNormalization': _zero_variance,
    'ConvolutionND': _bias_if_initial(None),
    'DeconvolutionND': _bias_if_initial(0),
}


def _in_its_mode(call: Callable) -> Callable:
    @functools.wraps(call)
    def __call__(self: link.Link, *args: Any, **kwargs: Any) -> Any:
        with chainer.using_config('train', vars(self).get('train', chainer.config.train)):
            return call(self, *args, **kwargs)

    return __call__


def _params(self: link.Link, include_uninit: bool = True) -> Iterator[chainer.Parameter]:
    """Yield all parameters in the order in which they were registered; v7 sorts them by name."""
    for _, parameter in _namedparams(self, include_uninit):
        yield parameter


def _namedparams(
    self: link.Link, include_uninit: bool = True
) -> Iterator[tuple[str, chainer.Parameter]]:
    """Yield pairs of path and parameter in the order in which they were registered."""
    for name, value in list(vars(self).items()):
        if name in self._params and (include_uninit or value.is_initialized):
            yield f'/{name}', value
    for name, child in _children(self):
        for path, parameter in child.namedparams(include_uninit):
            yield f'/{name}{path}', parameter


def _children(self: link.Link) -> Iterator[tuple[str, link.Link]]:
    if isinstance(self, link.ChainList):
        for k, child in enumerate(self):
            yield str(k), child
    elif isinstance(self, link.Chain):
        for name, child in list(vars(self).items()):
            if name in self._children:
                yield name, child
