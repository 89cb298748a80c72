"""The ways of using an LSTM that are measured, their cases and the goals for their speed."""

from __future__ import annotations

import statistics
from typing import Any, NamedTuple, Optional

from contestants import FrozenSteps, OurNStep, OurSequence, OurSteps, Shape
from language_model import Ours, OursAdam, Torchs, TorchsAdam
from layers import SHAPES
from peers import OnnxLSTM, OnnxSteps, TorchLSTM, TorchSteps
from products import NumpyProduct, OurProduct, TorchProduct, products_of
from thread_counts import (
    FourTimesSequence,
    FourTimesSteps,
    LimitedSequence,
    LimitedSteps,
    UsualSequence,
    UsualSteps,
)

FASTER = 'times as fast as'
LONGER = 'times as long as'
MICROSECONDS = 'µs a step'


class Goal(NamedTuple):
    """The bounds of a figure.

    Attributes:
        figure: FASTER, of which the bounds are the least; LONGER or MICROSECONDS, the most.
        peers: contestants; the fastest counts in each case.
        mean, worst: bounds over all cases; None for no bound.
        bar: what the chart calls the figure; it has no other figures.
    """

    figure: str
    peers: tuple[type, ...]
    mean: Optional[float] = None
    worst: Optional[float] = None
    bar: str = ''

    @property
    def title(self) -> str:
        return ' '.join([self.figure, ' or '.join(peer.name for peer in self.peers)]).strip()

    @property
    def is_higher_better(self) -> bool:
        return self.figure == FASTER

    @property
    def bounds(self) -> str:
        sign = '≥' if self.is_higher_better else '≤'
        given = {'mean': self.mean, 'worst': self.worst}
        return ', '.join(f'{name} {sign} {x:g}' for name, x in given.items() if x is not None)

    def of(self, case: Any, measured: list[float], peers: list[list[float]]) -> float:
        """Return the figure of a case from the seconds of each turn."""
        if self.figure == MICROSECONDS:
            return statistics.median(measured) / case.time * 1e6
        ratio = statistics.median(min(others) / own for own, *others in zip(measured, *peers))
        return ratio if self.is_higher_better else 1 / ratio

    def summary(self, figures: list[float]) -> dict[str, Any]:
        """Return mean and worst of the figures of all cases, and whether they are within bounds."""
        mean = statistics.geometric_mean(figures)
        worst = min(figures) if self.is_higher_better else max(figures)
        pairs = [(mean, self.mean), (worst, self.worst)]
        met = all(
            bound is None or (x >= bound if self.is_higher_better else x <= bound)
            for x, bound in pairs
        )
        return {'mean': mean, 'worst': worst, 'met': met}


class Way(NamedTuple):
    """A way of using an LSTM.

    Attributes:
        mode: the method that is timed.
        measured: the contestant that the goals are for.
        cases: its shapes or products.
    """

    mode: str
    measured: type
    cases: tuple[Any, ...]
    goals: tuple[Goal, ...]


def ragged(*shapes: Shape) -> tuple[Shape, ...]:
    return tuple(shape._replace(ragged=True) for shape in shapes)


T = 50  # steps of a call, where they are single ones
STEPS = tuple(
    Shape(batch, T, units) for batch, units in ((1, 128), (1, 650), (8, 256), (20, 650), (64, 512))
)
SEQUENCES = (
    Shape(20, 35, 200),
    Shape(20, 35, 650),
    Shape(32, 35, 256),
    Shape(64, 100, 512),
    Shape(1, 35, 650),
    Shape(1, 200, 128),
    Shape(1, 50, 1024),
    Shape(128, 20, 64),
)
RAGGED = ragged(Shape(20, 35, 200), Shape(32, 35, 256), Shape(20, 35, 650, 2), Shape(64, 100, 512))
BOTH_DIRECTIONS = (Shape(20, 35, 200, 1, directions=2), Shape(32, 50, 256, 2, directions=2))
TINY = (Shape(1, 20, 8),)  # Python alone
SMALL_MODEL = (Shape(20, 20, 200, 2),)
MEDIUM_MODEL = (Shape(20, 35, 650, 2),)
# layers and softmax of both models
PRODUCTS = (
    *products_of(400, 200, 800),
    *products_of(400, 200, 10000),
    *products_of(700, 650, 2600),
    *products_of(700, 650, 10000),
)
CROWDED = (Shape(20, 35, 200), Shape(20, 35, 650))

WAYS = {
    'steps': Way(
        'infer',
        OurSteps,
        STEPS,
        (
            Goal(FASTER, (OnnxSteps,), 1.0, 0.85, 'single steps / onnxruntime'),
            Goal(FASTER, (TorchSteps,), 1.4, 1.0, 'single steps / torch'),
        ),
    ),
    'steps-frozen': Way(
        'infer',
        FrozenSteps,
        STEPS,
        (Goal(FASTER, (OnnxSteps,), 1.0, 0.85), Goal(FASTER, (TorchSteps,), 1.4, 1.0)),
    ),
    'sequences': Way(
        'infer',
        OurSequence,
        SEQUENCES,
        (
            Goal(FASTER, (OnnxLSTM,), 1.05, 0.95, 'sequences, inference / onnxruntime'),
            Goal(FASTER, (TorchLSTM,), 1.2, 1.0, 'sequences, inference / torch'),
        ),
    ),
    'training': Way(
        'train',
        OurSequence,
        tuple(SHAPES),
        (Goal(FASTER, (TorchLSTM,), 1.25, 1.0, 'sequences, training / torch'),),
    ),
    'last-output': Way(
        'train_last', OurSequence, (Shape(32, 1000, 128),), (Goal(FASTER, (TorchLSTM,), 1.25),)
    ),
    'nstep-training': Way(
        'train', OurNStep, tuple(SHAPES[:5]), (Goal(LONGER, (OurSequence,), 1.15, 1.25),)
    ),
    'nstep-inference': Way(
        'infer', OurNStep, tuple(SHAPES[:5]), (Goal(LONGER, (OurSequence,), 1.15, 1.25),)
    ),
    'ragged-training': Way(
        'train',
        OurNStep,
        RAGGED,
        (Goal(FASTER, (TorchLSTM,), 2.2, 2.0, 'different lengths, training / torch'),),
    ),
    'ragged-inference': Way('infer', OurNStep, RAGGED, (Goal(FASTER, (TorchLSTM,), 1.3, 1.2),)),
    'both-directions': Way(
        'train', OurNStep, BOTH_DIRECTIONS, (Goal(FASTER, (TorchLSTM,), 1.2, 1.1),)
    ),
    'float64': Way(
        'train',
        OurSequence,
        (Shape(20, 35, 200, dtype='float64'),),
        (Goal(FASTER, (TorchLSTM,), 1.3),),
    ),
    'updates-sgd-small': Way(
        'train',
        Ours,
        SMALL_MODEL,
        (Goal(FASTER, (Torchs,), 1.35, bar='language model, 200 units / torch'),),
    ),
    'updates-sgd-medium': Way(
        'train',
        Ours,
        MEDIUM_MODEL,
        (Goal(FASTER, (Torchs,), 1.2, bar='language model, 650 units / torch'),),
    ),
    'updates-adam': Way(
        'train',
        OursAdam,
        SMALL_MODEL + MEDIUM_MODEL,
        (Goal(FASTER, (TorchsAdam,), 1.3, 1.3),),
    ),
    'products': Way(
        'multiply',
        OurProduct,
        PRODUCTS,
        (Goal(FASTER, (TorchProduct, NumpyProduct), 0.95, 0.9),),
    ),
    'python-inference': Way('infer', OurSteps, TINY, (Goal(MICROSECONDS, (), 25),)),
    'python-training': Way('train_last', OurSteps, TINY, (Goal(MICROSECONDS, (), 100),)),
    'threads-training': Way(
        'train', FourTimesSequence, CROWDED, (Goal(LONGER, (UsualSequence,), worst=2),)
    ),
    'threads-steps': Way('infer', FourTimesSteps, CROWDED, (Goal(LONGER, (UsualSteps,), worst=2),)),
    'limit-training': Way(
        'train', LimitedSequence, CROWDED, (Goal(LONGER, (UsualSequence,), worst=1.1),)
    ),
    'limit-steps': Way('infer', LimitedSteps, CROWDED, (Goal(LONGER, (UsualSteps,), worst=1.1),)),
}
