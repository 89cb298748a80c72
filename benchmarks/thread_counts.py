"""The links of this package with as many threads as cores, with more, and with fewer again."""

from __future__ import annotations

from contestants import OurSequence, OurSteps, Shape

from chainer_lstm.kernels import native


class UsualSequence(OurSequence):
    family = 'threads'


class UsualSteps(OurSteps):
    family = 'threads'


class FourTimesSequence(OurSequence):
    """Four times as many threads as cores, as in a container with a quota."""

    name = 'forward_sequence, 4 threads a core'
    family = '4 threads a core'
    times_threads = 4


class FourTimesSteps(OurSteps):
    name = 'LSTM steps, 4 threads a core'
    family = '4 threads a core'
    times_threads = 4


class Limited:
    """A limit of sixteen threads a core, then the usual limit again."""

    family = '16 threads a core, then one'

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        library = native.library()
        usual = library.chainer_lstm_get_num_threads()
        library.chainer_lstm_set_num_threads(16 * usual)
        self.train()
        self.infer()
        library.chainer_lstm_set_num_threads(usual)


class LimitedSequence(Limited, OurSequence):
    name = 'forward_sequence, limited again'


class LimitedSteps(Limited, OurSteps):
    name = 'LSTM steps, limited again'
