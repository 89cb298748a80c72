"""Programs: what scripts do with links that keep a state, in any order."""

from __future__ import annotations

import copy
import pickle
import tempfile
from typing import Any

import chainer
import chainer.functions as F
import numpy

from tests.fuzz.case import Case
from tests.fuzz.sides import LAYOUTS, LENGTHS, Ours, Side, case_dtype


def batches(case: Case, growing: bool) -> tuple[int, ...]:
    """The batch sizes of some steps, at least one."""
    sizes = case.some('batches', LENGTHS, 6, 1) or (1,)
    return sizes if growing else tuple(sorted(sizes, reverse=True))


class _Hook(chainer.LinkHook):
    name = 'does nothing'


class Program:
    """Calls of two links with a state, between them what scripts do with links."""

    ACTIONS = (
        'step', 'steps', 'chunk', 'reset', 'other link', 'unchain', 'set_state', 'set c', 'set h',
        'share', 'clone', 'deepcopy', 'pickle', 'npz', 'npz with state', 'to_cpu',
        'call of no rows', 'image', 'no_backprop', 'state again', 'hooked step', 'train',
    )  # fmt: skip

    def __init__(self, side: Side, name: str) -> None:
        case = side.case
        self.side, self.name = side, name
        self.in_size, self.units = case.size('in_size'), case.size('units')
        self.links = [side.link(f'link {k}', self.new(k)) for k in range(2)]
        self.outputs: dict[str, chainer.Variable] = {}
        self.at = 0

    def new(self, k: int = 1) -> Any:
        deferred = k == 0 and self.side.case.one('deferred', (False, True))
        link = getattr(self.side.links, self.name)(None if deferred else self.in_size, self.units)
        if deferred:
            with chainer.no_backprop_mode():
                link(
                    numpy.zeros(
                        (1, self.in_size),
                        case_dtype(self.side.case) if isinstance(self.side, Ours) else 'd',
                    )
                )
            link.reset_state()
        return link

    def run(self) -> dict[str, chainer.Variable]:
        case = self.side.case
        program = case.some('program', self.ACTIONS, 9, 1)
        sizes = batches(case, growing=True)
        for self.at, action in enumerate(program):
            self.batch = sizes[self.at % len(sizes)]
            state = self.links[0].h if self.links[0].h is not None else self.links[0].c
            if state is not None:
                self.batch = min(self.batch, len(state))
            if self.at == 1:
                self.side.replace_weights(self.links[0])
            getattr(self, '_' + action.replace(' ', '_'))()
            for name in 'ch':
                if getattr(self.links[0], name) is not None:
                    self.outputs[f'{name} after {self.at} {action}'] = getattr(self.links[0], name)
        return self.outputs

    def _variable(self, name, shape):
        return self.side.variable(f'{name}{self.at}', shape)

    def _output(self, y, k=0):
        self.outputs[f'y{self.at}.{k}'] = y
        self.side.depth += 1

    def _step(self):
        self._output(self.links[0](self._variable('x', (self.batch, self.in_size))))

    def _image(self):
        self._output(self.links[0](self._variable('x', (self.batch, 1, self.in_size))))

    def _call_of_no_rows(self):
        self._output(self.links[0](self._variable('x', (0, self.in_size))))

    def _steps(self):
        sizes = (self.batch, self.batch, min(self.batch, self.side.case.size('last_of_steps')))
        xs = [self._variable(f'x{t} ', (size, self.in_size)) for t, size in enumerate(sizes)]
        for k, y in enumerate(self.links[0].forward_sequence(xs)):
            self._output(y, k)

    def _chunk(self):
        time = self.side.case.one('time', (1, 2, 0, 3, 5))
        self._output(
            self.links[0].forward_sequence(self._variable('x', (time, self.batch, self.in_size)))
        )
        self.side.depth += time

    def _no_backprop(self):
        with chainer.no_backprop_mode():
            self._step()

    def _hooked_step(self):
        with _Hook():  # the links inside are called one by one
            self._step()

    def _train(self):
        """An update on a loss of all outputs so far, which ends their graph."""
        for link in self.links:
            link.cleargrads()
        outputs = [y for y in self.outputs.values() if y.requires_grad and y.creator is not None]
        if outputs:
            sum(F.sum(F.cast(y, 'd') ** 2) for y in outputs).backward()  # float16 would overflow
        read_only = self.side.case.one('weight_layout', tuple(LAYOUTS)) in ('read-only', 'one row')
        for param in {id(param): param for link in self.links for param in link.params()}.values():
            if param.grad is not None and not read_only:
                param.array[...] -= 0.1 * param.grad / max(1, self.batch)
        for link in self.links:
            link.set_state(*(None if s is None else s.array for s in (link.c, link.h)))
        self.outputs = {name: chainer.Variable(y.array) for name, y in self.outputs.items()}
        self.side.depth *= 2

    def _reset(self):
        self.links[0].reset_state()

    def _other_link(self):
        self.links.reverse()

    def _unchain(self):
        for state in (self.links[0].h, self.links[0].c):
            if state is not None:
                state.unchain_backward()

    def _set_state(self):
        self.links[0].set_state(*(self._variable(name, (self.batch, self.units)) for name in 'ch'))

    def _set_c(self):
        self.links[0].set_state(self._variable('c', (self.batch, self.units)), None)

    def _set_h(self):
        self.links[0].set_state(None, self._variable('h', (self.batch, self.units)))

    def _state_again(self):
        link = self.links[0]
        link.set_state(link.c, link.h)

    def _share(self):
        self.links[1] = self.links[0].copy('share')

    def _clone(self):
        self._replace(self.links[0].copy('copy'))

    def _deepcopy(self):
        self._replace(copy.deepcopy(self.links[0]))

    def _pickle(self):
        self._replace(pickle.loads(pickle.dumps(self.links[0])))

    def _to_cpu(self):
        self.links[0].to_device('@numpy')
        self.links[0].to_device(getattr(self.side, 'device', '@numpy'))

    def _npz(self):
        link, _ = self._through_a_file(False)
        self._replace(link)

    def _npz_with_state(self):
        link, state = self._through_a_file(isinstance(self.side, Ours))
        if not isinstance(self.side, Ours):
            link.set_state(
                *(
                    chainer.Variable(s.array.copy()) if s is not None and len(s) else None
                    for s in state
                )
            )
        self._replace(link)

    def _through_a_file(self, persistent):
        old, link = self.links[0], getattr(self.side.links, self.name)(None, self.units)
        link.to_device(old.device)
        if persistent:
            old.persistent_state = link.persistent_state = True
        with tempfile.TemporaryFile() as file:
            chainer.serializers.save_npz(file, old)
            file.seek(0)
            chainer.serializers.load_npz(file, link)
        return link, (old.c, old.h)

    def _replace(self, link):
        self.links[0] = self.side.watch(f'link made at {self.at}', link)
