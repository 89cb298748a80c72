"""An LSTM with zoneout (Krueger et al. 2017): cells with noise and sizes, with and without
``backward``.
"""

import dataclasses

from chainer_lstm.cells import LSTM


@dataclasses.dataclass(frozen=True)
class Zoneout(LSTM):
    """In training each unit keeps its c, or its h, with a probability."""

    ratio: float = 0.3

    name = 'zoneout'
    reads = ('c', 'h')
    noise = ('keep_c', 'keep_h')
    backward = None

    def draw(self, xp, shape, dtype):
        return [(xp.random.rand(*shape) < self.ratio).astype(dtype) for _ in self.noise]

    def forward(self, xp, gates, before, keep_c=None, keep_h=None):
        gates, new = super().forward(xp, gates, before)
        if keep_c is None:
            return gates, new
        c = new.c + keep_c * (before.c - new.c)
        return gates, self.State(c, new.h + keep_h * (before.h - new.h))
