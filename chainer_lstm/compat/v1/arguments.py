"""The arguments that functions and links of Chainer v1 had, by position too.

A program's calls are read with v1's list of arguments.  Calls from within Chainer and this package
use v7's arguments and are left as they are.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Optional

import chainer
from chainer import functions as F
from chainer import links as L

from chainer_lstm.compat.replacements import Replacements

_LIBRARIES = ('chainer', 'chainer_lstm', 'chainermn', 'onnx_chainer')

# v1's arguments that became configuration
CONFIGURATION = ('train', 'test', 'use_cudnn', 'deterministic')

# function -> arguments of Chainer v1.24; earlier ones had the first of these
FUNCTIONS = {
    'average_pooling_2d': 'x ksize stride pad use_cudnn',
    'average_pooling_nd': 'x ksize stride pad use_cudnn',
    'batch_normalization': 'x gamma beta eps running_mean running_var decay use_cudnn',
    'convolution_2d': 'x W b stride pad use_cudnn cover_all deterministic',
    'convolution_nd': 'x W b stride pad use_cudnn cover_all',
    'deconvolution_2d': 'x W b stride pad outsize use_cudnn deterministic',
    'deconvolution_nd': 'x W b stride pad outsize use_cudnn',
    'dilated_convolution_2d': 'x W b stride pad dilate use_cudnn cover_all',
    'dropout': 'x ratio train',
    'fixed_batch_normalization': 'x gamma beta mean var eps use_cudnn',
    'log_softmax': 'x use_cudnn',
    'max_pooling_2d': 'x ksize stride pad cover_all use_cudnn',
    'max_pooling_nd': 'x ksize stride pad cover_all use_cudnn',
    'n_step_bigru': 'n_layers dropout_ratio hx ws bs xs train use_cudnn',
    'n_step_bilstm': 'n_layers dropout_ratio hx cx ws bs xs train use_cudnn',
    'n_step_birnn': 'n_layers dropout_ratio hx ws bs xs train use_cudnn activation',
    'n_step_gru': 'n_layers dropout_ratio hx ws bs xs train use_cudnn',
    'n_step_lstm': 'n_layers dropout_ratio hx cx ws bs xs train use_cudnn',
    'n_step_rnn': 'n_layers dropout_ratio hx ws bs xs train use_cudnn activation',
    'relu': 'x use_cudnn',
    'sigmoid': 'x use_cudnn',
    'sigmoid_cross_entropy': 'x t use_cudnn normalize reduce',
    'softmax': 'x use_cudnn axis',
    'softmax_cross_entropy': 'x t use_cudnn normalize cache_score class_weight ignore_label reduce',
    'spatial_transformer_grid': 'theta output_shape use_cudnn',
    'spatial_transformer_sampler': 'x grid use_cudnn',
    'tanh': 'x use_cudnn',
    'zoneout': 'h x ratio train',
}

# link -> arguments of its call
CALLS = {
    'BatchNormalization': 'self x test finetune',
    'InceptionBN': 'self x test',
    **{f'NStep{name}': 'self hx cx xs train' for name in ('LSTM', 'BiLSTM')},
    **{
        f'NStep{name}': 'self hx xs train'
        for name in ('GRU', 'BiGRU', 'RNNReLU', 'RNNTanh', 'BiRNNReLU', 'BiRNNTanh')
    },
}

# models that were called in test mode unless they were told otherwise
MODELS = {
    'GoogLeNet': ('self x layers train', {'train': False}),
    **{
        name: ('self x layers test', {'test': True})
        for name in ('ResNet50Layers', 'ResNet101Layers', 'ResNet152Layers', 'VGG16Layers')
    },
}


def install(replacements: Replacements) -> None:
    """Let functions, and the calls of links, take v1's arguments."""
    functions = {
        name: taking(names, CONFIGURATION, configured)(getattr(F, name))
        for name, names in FUNCTIONS.items()
    }
    functions['split_axis'] = _split_axis(F.split_axis)
    for name, function in functions.items():
        function.__module__ = F.__name__  # where pickle finds it
        replacements.set(F, name, function)
    calls = {**{name: (names, {}) for name, names in CALLS.items()}, **MODELS}
    for name, (names, defaults) in calls.items():
        cls = getattr(L, name)
        decorate = taking(names, CONFIGURATION, configured, defaults)
        replacements.set(cls, '__call__', decorate(cls.__call__, like=cls.forward))


def from_program() -> bool:
    """Return whether the caller's caller is the program, not Chainer or this package."""
    return not _is_library(sys._getframe(2).f_globals.get('__name__', ''))


@functools.lru_cache
def _is_library(module: str) -> bool:
    return module.partition('.')[0] in _LIBRARIES


def taking(
    names: str,
    old: tuple[str, ...],
    run: Callable,
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> Callable:
    """Return a decorator for a function that had other arguments in v1.

    The decorated function has to be called by the program itself, so other
    decorators go inside.

    Args:
        names: the names of v1's arguments, in order.
        old: the names that v7's function does not have.
        run: called with the function, its arguments, its keyword arguments,
            and a dictionary of the old arguments that were given.
        defaults: the defaults of the old arguments.
    """
    order = names.split()

    def decorate(function: Callable, like: Optional[Callable] = None) -> Callable:
        new = [*inspect.signature(like or function).parameters]
        pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(order, new))
        same = len([*pairs])  # as many have the same places

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if len(args) > same and from_program():
                if len(args) > len(order):
                    raise TypeError(
                        f'{function.__name__}() of Chainer v1: expected at most '
                        f'{len(order)} arguments, {names}; got {len(args)}'
                    )
                for name, value in zip(order[same:], args[same:]):
                    if name in kwargs:
                        raise TypeError(f'{function.__name__}(): got two values of {name}')
                    kwargs[name] = value
                args = args[:same]
            given = dict(defaults)
            for name in old:
                if name in kwargs:
                    given[name] = kwargs.pop(name)
            return run(function, args, kwargs, given) if given else function(*args, **kwargs)

        return call

    return decorate


def configured(function: Callable, args: tuple, kwargs: dict, given: dict[str, Any]) -> Any:
    """Call a function under the configuration that the old arguments stand for."""
    with _configuration(given):
        return function(*args, **kwargs)


@contextlib.contextmanager
def _configuration(given: dict[str, Any]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if 'train' in given or 'test' in given:
            train = given['train'] if 'train' in given else not given['test']
            stack.enter_context(chainer.using_config('train', bool(train)))
        if not given.get('use_cudnn', True):
            stack.enter_context(chainer.using_config('use_cudnn', 'never'))
        if given.get('deterministic'):
            stack.enter_context(chainer.using_config('cudnn_deterministic', True))
        yield


def _split_axis(split_axis: Callable) -> Callable:
    @functools.wraps(split_axis)
    def call(*args: Any, **kwargs: Any) -> Any:
        if len(args) < 4 and from_program():
            kwargs.setdefault('force_tuple', False)
        return split_axis(*args, **kwargs)

    return call
