"""Updates by CUDA graphs: after a few ordinary updates one is recorded, and later ones replay it by
one call.

A graph always reads and writes the same memory.  Inputs and states are copied into its arrays;
everything else that it allocates comes from a memory pool that lives as long as the graph.
"""

from __future__ import annotations

import collections
import contextlib
import pickle
import random
import warnings
from collections.abc import Callable
from typing import Any, Optional

import chainer
import numpy
from chainer.backends import cuda

from chainer_lstm import optimizers
from chainer_lstm.arrays import Array
from chainer_lstm.chainer_private import link_hooks, loss_scale, settings
from chainer_lstm.functions.config import engine_of, is_observed
from chainer_lstm.kernels import captured
from chainer_lstm.optimizers import replays
from chainer_lstm.training import attributes

STATES = ('c', 'h')  # the attributes of a link that one chunk passes to the next
_WARM_UP = 3  # calls before a capture: states are allocated, engines chosen, kernels compiled
_AHEAD = 16  # updates that Python may be ahead of the GPU: a few milliseconds
_MOST_GRAPHS = 4  # each holds the memory of a whole update
_GENERATORS = (random.Random, numpy.random.RandomState, numpy.random.Generator)


class CapturedUpdate:
    """Update a model by a function that computes its gradients, or by a replay of its kernels.

    The first calls with inputs of the same shapes are ordinary updates; the next one is captured.
    Another graph is captured after a change of anything that determines the kernels: shapes, the
    arrays of parameters, attributes of links, entries of ``chainer.config``.  Lists, dictionaries,
    arrays of the host and other objects in attributes are compared by their contents, up to 64
    elements.  A model that changes them, or draws random numbers on the host, is not captured.
    The update of the parameters is a part of the graph if only kernels of this package compute it;
    otherwise ``optimizers.update`` follows each replay.

    A replay writes gradients, states and other attributes of links, such as ``Classifier.y``, into
    the same arrays as the previous one.  Reported values are copies.

    Args:
        optimizer: set up with the model.
        compute: takes arrays, clears the gradients and computes them, sets the state of links, and
            reports values.

    Attributes:
        replays: the number of calls that were replays.
    """

    def __init__(self, optimizer: chainer.Optimizer, compute: Callable[..., None]) -> None:
        self._optimizer = optimizer
        self._compute = compute
        self._calls: collections.Counter[Any] = collections.Counter()
        self._graphs: collections.OrderedDict[Any, _Graph] = collections.OrderedDict()
        self._written: dict[int, set[str]] = {}  # attributes that calls set, by id of a link
        self._refusal: Optional[str] = None
        self._warned: set[str] = set()
        self._stream: Any = None
        self._ends: collections.deque[Any] = collections.deque()  # of the last replays, events
        self.replays = 0

    def __call__(self, *arrays: Array) -> None:
        obstacle = self._obstacle(arrays)
        if obstacle is not None:
            self._warn(obstacle)
            self._update(arrays)
            return
        with chainer.using_device(self._model.device):
            key = self._key(arrays)
            graph = self._graphs.get(key)
            if graph is None:
                graph = self._begin(key, arrays)
            if graph is not None:
                self._graphs.move_to_end(key)
                self._replay(graph, arrays)

    @property
    def _model(self) -> chainer.Link:
        return self._optimizer.target

    def _update(self, arrays: tuple[Array, ...]) -> None:
        self._compute(*arrays)
        optimizers.update(self._optimizer)

    def _obstacle(self, arrays: tuple[Array, ...]) -> Optional[str]:
        """Return the reason why updates cannot be captured, or None."""
        if self._refusal is not None:
            return self._refusal
        if not isinstance(arrays[0], cuda.ndarray):
            return f'it needs CuPy and a GPU, the model is on {self._model.device}'
        if is_observed() or link_hooks() or any(x.local_link_hooks for x in self._model.links()):
            return 'hooks and the debug mode of Chainer have to see every call'
        if loss_scale(self._optimizer) is not None:
            return 'the scale of the loss may change'
        return None

    def _warn(self, reason: str) -> None:
        if reason not in self._warned:
            self._warned.add(reason)
            warnings.warn(
                f'graph=True: updates are computed without a CUDA graph: {reason}',
                RuntimeWarning,
                stacklevel=5,
            )

    def _key(self, arrays: tuple[Array, ...]) -> Any:
        """Return everything known that determines which kernels are launched."""
        found: list[Any] = [(x.shape, x.dtype) for x in arrays]
        found += [attributes.identity(x) for x in settings().values()]
        found.append(id(_current_reporter()))
        found.append(replays.frozen(self._optimizer))
        for link in self._model.links():
            written = self._written.get(id(link), ())
            found.append(id(link))
            for name, x in vars(link).items():
                if name in STATES and _is_state(x):
                    found.append(None if x is None else (x.shape, x.dtype))
                elif name not in written:
                    found.append(attributes.identity(x))
        return tuple(found)

    def _begin(self, key: Any, arrays: tuple[Array, ...]) -> Optional[_Graph]:
        """Update the model, or capture an update and return its graph."""
        if self._calls[key] < _WARM_UP:
            if len(self._calls) > 16 * _MOST_GRAPHS:
                self._calls.clear()
                self._warn('inputs, the model or chainer.config change from call to call')
            self._calls[key] += 1
            self._warm_up(arrays)
            return None
        try:
            graph = _Graph(self._optimizer, self._compute, arrays, self._written, self._stream)
        except Exception as error:
            self._graphs.clear()
            why = f'{type(error).__name__}: {" ".join(str(error).split())}'
            self._refusal = f'the capture failed with {why}'
            self._warn(self._refusal)
            self._update(arrays)
            return None
        self._graphs[key] = graph
        if len(self._graphs) > _MOST_GRAPHS:
            self._graphs.popitem(last=False)
        return graph

    def _warm_up(self, arrays: tuple[Array, ...]) -> None:
        """Update the model on the stream of captures, so that tables are cached for it."""
        if self._stream is None:
            self._stream = cuda.cupy.cuda.Stream(non_blocking=True)
        before = attributes.snapshot(self._model)
        outside = cuda.cupy.cuda.get_current_stream()
        self._stream.wait_event(outside.record())
        try:
            with self._stream:
                self._update(arrays)
        finally:
            outside.wait_event(self._stream.record())
        self._written = {}
        for link, name, _ in attributes.changes(before):
            self._written.setdefault(id(link), set()).add(name)

    def _replay(self, graph: _Graph, arrays: tuple[Array, ...]) -> None:
        try:
            engine_of(arrays[0]).check_time_out()
        except RuntimeError:
            self._graphs.clear()  # from now on 'auto' chooses another engine
            raise
        graph.replay(arrays)
        self.replays += 1
        self._wait()

    def _wait(self) -> None:
        """Wait until the GPU is at most a few updates behind, so that measured times make sense."""
        end = cuda.cupy.cuda.Event(block=True, disable_timing=True)
        end.record()
        self._ends.append(end)
        if len(self._ends) > _AHEAD:
            oldest = self._ends.popleft()
            if not oldest.done:
                oldest.synchronize()


class _Graph:
    """A CUDA graph, and the arrays that it reads and writes.

    Args:
        optimizer, compute: as for ``CapturedUpdate``.
        arrays: the inputs.
        written: the names of attributes that a call sets, by the id of a link.
        stream: the stream to capture on, other than the default stream.

    Raises:
        Exception: the capture failed; except for its gradients the model is unchanged.
    """

    def __init__(
        self,
        optimizer: chainer.Optimizer,
        compute: Callable[..., None],
        arrays: tuple[Array, ...],
        written: dict[int, set[str]],
        stream: Any,
    ) -> None:
        cuda.cupy.get_default_memory_pool().free_all_blocks()  # of earlier calls
        self._optimizer, model = optimizer, optimizer.target
        self._is_whole = replays.frozen(optimizer) is not None
        self._inputs = captured.Inputs(cuda.cupy)
        self._arrays = [x.copy() for x in arrays]
        self._states: attributes.Attributes = []  # with the array that a replay reads and writes
        self._observation: dict[str, Any] = {}
        # the memory of a graph is not reused by other arrays
        self._pool = cuda.cupy.cuda.MemoryPool(_allocate)
        before = attributes.snapshot(model)
        counts = _counts(optimizer)
        try:
            self._take_attributes(before, written)
            self._kept = _objects(model)
            self._graph = self._capture(compute, stream)
            self._set = self._results(before, written)
            self._gradients = [(param, param.grad) for param in model.params()]
        except BaseException:
            for link, values, _ in before:
                vars(link).clear()
                vars(link).update(values)
            model.cleargrads()
            raise
        finally:
            for counted, t in counts:  # nothing has been updated yet
                counted.t = t

    def _take_attributes(self, before: attributes.Snapshot, written: dict[int, set[str]]) -> None:
        """Copy the states into arrays of the graph; make other attributes that a call sets invalid.

        Replays do not read those attributes, so the function may not use them before it sets them.
        """
        for link, values, _ in before:
            for name, value in values.items():
                if name in STATES and _is_state(value):
                    if value is not None:
                        buffer = chainer.as_array(value).copy()
                        self._states.append((link, name, buffer))
                        vars(link)[name] = chainer.Variable(buffer)
                elif name in written.get(id(link), ()):
                    vars(link)[name] = _UNUSABLE

    def _capture(self, compute: Callable[..., None], stream: Any) -> Any:
        with contextlib.ExitStack() as stack:
            reporter = _current_reporter()
            if reporter is not None:
                stack.enter_context(reporter.scope(self._observation))
            stack.enter_context(captured.capturing(self._inputs))
            stack.enter_context(cuda.cupy.cuda.using_allocator(self._pool.malloc))
            stack.enter_context(stream)
            drawn = _random_state(self._optimizer.target)
            stream.begin_capture()
            try:
                compute(*self._arrays)
                if _random_state(self._optimizer.target) != drawn:
                    raise RuntimeError('the model draws random numbers on the host')
                self._write_states()
                self._is_whole = self._is_whole and replays.by_kernels(self._optimizer)
                if self._is_whole:
                    optimizers.update(self._optimizer)
            except BaseException:
                with contextlib.suppress(cuda.cupy.cuda.runtime.CUDARuntimeError):
                    stream.end_capture()
                raise
            return stream.end_capture()

    def _results(
        self, before: attributes.Snapshot, written: dict[int, set[str]]
    ) -> attributes.Attributes:
        """Return the attributes that the call has set."""
        for link, values, _ in before:
            for name, value in values.items():
                if vars(link).get(name) is _UNUSABLE:
                    vars(link)[name] = value
        found = attributes.changes(before)
        for link, name, _ in found:
            if name not in (*STATES, *written.get(id(link), ())):
                raise RuntimeError(f'the attribute {name!r} of a link is not set by every call')
        return found

    def _write_states(self) -> None:
        """Copy the new states into the arrays from which the next replay reads them."""
        buffers = [buffer for _, _, buffer in self._states]
        new = []
        for link, name, buffer in self._states:
            value = vars(link)[name]
            if value is None or value.shape != buffer.shape or value.dtype != buffer.dtype:
                raise RuntimeError(f'the state {name!r} of a link has changed its shape')
            x = chainer.as_array(value)
            # the new value may be the array of another state
            new.append(x.copy() if any(x is b or x.base is b for b in buffers) else x)
        for (link, name, buffer), x in zip(self._states, new):
            buffer[...] = x
            vars(link)[name] = chainer.Variable(buffer)

    def replay(self, arrays: tuple[Array, ...]) -> None:
        """Update the model by other inputs, on the current stream."""
        if self._is_whole:
            replays.advance(self._optimizer)
        for own, x in zip(self._arrays, arrays):
            own[...] = x
        for link, name, buffer in self._states:
            x = chainer.as_array(vars(link)[name])
            if x is not buffer:
                buffer[...] = x
        self._inputs.send()
        self._graph.launch()
        for link, name, value in self._set:
            vars(link)[name] = value
        for param, gradient in self._gradients:
            if param.grad is not gradient:
                param.grad = gradient
        if self._observation:
            values = {name: _copied(value) for name, value in self._observation.items()}
            chainer.get_current_reporter().observation.update(values)
        if not self._is_whole:
            optimizers.update(self._optimizer)


def _allocate(size: int) -> Any:
    """Return memory of the device.

    Raises:
        MemoryError: there is no more memory.  On CuPy's own error the pool would free blocks that
            captured kernels already use.
    """
    try:
        return cuda.cupy.cuda.MemoryPointer(cuda.cupy.cuda.Memory(size), 0)
    except cuda.cupy.cuda.runtime.CUDARuntimeError as error:
        raise MemoryError(f'a CUDA graph needs another {size} bytes: {error}') from None


class _Unusable:
    """Replaces an attribute that must not be used; operations on it fail."""

    def __bool__(self) -> bool:
        raise TypeError('a link keeps something else than c and h from one chunk to the next')


_UNUSABLE = _Unusable()


def _counts(optimizer: chainer.Optimizer) -> list[tuple[Any, int]]:
    """Return the optimizer and the update rules with their numbers of updates."""
    rules = [param.update_rule for param in optimizer.target.params()]
    return [(x, x.t) for x in (optimizer, *rules) if x is not None]


def _objects(model: chainer.Link) -> list[Any]:
    """Return the objects whose ids decide which graph is replayed, to keep their ids in use."""
    values = [x for link in model.links() for x in vars(link).values()]
    values += settings().values()
    return [*model.links(), *map(attributes.kept, values), _current_reporter()]


def _random_state(model: chainer.Link) -> bytes:
    """Return the state of all generators whose next numbers the host determines: those that
    ``functions.dropout`` draws are computed anew for each replay.
    """
    values = [x for link in model.links() for x in vars(link).values()]
    own = [x for x in values if isinstance(x, _GENERATORS)]
    of_cupy = captured.random_position(cuda.cupy)
    return pickle.dumps((random.getstate(), numpy.random.get_state(), own, of_cupy))


def _is_state(x: Any) -> bool:
    """Return whether an attribute with the name of a state may be one."""
    return x is None or (hasattr(x, 'shape') and not isinstance(x, chainer.Parameter))


def _copied(value: Any) -> Any:
    """Return a copy of a reported value, which later replays do not overwrite."""
    if isinstance(value, chainer.Variable):
        return chainer.Variable(value.array.copy(), requires_grad=False)
    return value.copy() if isinstance(value, chainer.get_array_types()) else value


def _current_reporter() -> Optional[Any]:
    try:
        return chainer.get_current_reporter()
    except IndexError:
        return None
