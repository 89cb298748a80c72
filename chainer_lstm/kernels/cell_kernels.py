"""The kernels of a compiled cell and their arguments, derived from the cell."""

from __future__ import annotations

from typing import Optional

from chainer_lstm.cells import Cell, Product, Stage, can_project
from chainer_lstm.kernels.arguments import Arrays, Kernel, Members, Names, Together
from chainer_lstm.kernels.normalization import gradient_of, normalized_of, rows_of, scale_of

# The members of structs in native/arguments.hpp and, of the first two, in cuda/cells.cu.
_STAGE_FORWARD = (
    'isize batch, units; Numbers<Cell> numbers; const T *xw, *hu, *b; '
    'Weights<Cell, const T> products; Noise<Cell, const T> noise; '
    'States<Cell, const T> before; T* gates; States<Cell, T> now;'
)
_STAGE_BACKWARD = (
    'isize batch, units; Numbers<Cell> numbers; const T* gates; '
    'Weights<Cell, const T> weights; Noise<Cell, const T> noise; '
    'States<Cell, const T> before, now, gradients; T* gpre; States<Cell, T> out;'
)
_STEP_FORWARD = (
    'isize batch, units, inputs; Numbers<Cell> numbers; Rows<const T> x; const T *W, *b; '
    'States<Cell, const T> before; Rows<const T> alone[Cell::states]; '
    'Weights<Cell, const T> weights; const T* packed_W; Weights<Cell, const T> packed; '
    'Noise<Cell, const T> noise; T* gates; States<Cell, T> now;'
)
_STEP_BACKWARD = (
    'isize batch, units, inputs; Numbers<Cell> numbers; const T* gates; '
    'States<Cell, const T> before, now, gradients; const T* W; '
    'Weights<Cell, const T> weights; Noise<Cell, const T> noise; T *gpre, *gx; '
    'States<Cell, T> out;'
)
_STEPS = (
    'isize steps, batch, units, outputs, inputs, rows, first, initial; '
    'Numbers<Cell> numbers; const index64 *start, *n; '
    'Weights<Cell, const T> weights, masks; const T* V; Noise<Cell, const T> noise; '
)
_SEQUENCE_FORWARD = (
    _STEPS + 'Rows<const T> x, W[Cell::gates], U[Cell::gates]; const T* b; T *gates, *m; '
    'States<Cell, T> states;'
)
_SEQUENCE_BACKWARD = (
    _STEPS + 'States<Cell, const T> states; Rows<const T> output, cells; T *gates, *total; '
    'States<Cell, T> gradients;'
)
_NORMALIZED = (
    'isize steps, batch, units, outputs, inputs, rows, first, initial; '
    'Numbers<Normalized> numbers; '
    'const index64 *start, *n; const T *U, *gamma_h, *gamma_c, *beta_c; '
)
_NORMALIZED_FORWARD = _NORMALIZED + 'T *gates, *product, *scale, *c, *h;'
_NORMALIZED_BACKWARD = _NORMALIZED + (
    'const T *product, *scale, *c; Rows<const T> gh, gc; '
    'T *gates, *gradient, *of_gamma, *of_beta, *gc_last, *gh_last;'
)


class _StageKernels:
    """The kernels of a stage of a cell.

    A state is called c_prev before the first stage, c after it.
    """

    def __init__(self, cell: Cell, number: int) -> None:
        stage = cell.stages[number]
        self.cell = cell
        self.stage: Stage = stage
        self.number = number
        self.form = '{}' if number else '{}_prev'
        # the states that only products read: None at a first step
        by_products = {product.state for product in stage.products}
        self.alone = [s for s in cell.states if s in by_products and s not in stage.reads]
        # all states that may be None: a cell may not read each state of its compiled form
        self.optional = [*self.alone, *stage.reads[1:]]

    def forward(self) -> Kernel:
        """Return the kernel that runs the array code on the sums of products."""
        matrices = [p for p in self.stage.products if not p.diagonal]
        to_one = [p for p in matrices if not _to_all(self.cell, p)]
        members: Members = {
            'xw': self._of_first('batch gates'),
            'hu': 'batch gates?' if len(to_one) < len(matrices) else None,
            'b': self._of_first('gates?'),
            'numbers': ' '.join(self.cell.numbers),
            'products': [
                (product.weight.lower(), 'batch units') if product in to_one else vector
                for product, vector in zip(_products(self.cell), self._vectors())
            ],
            'noise': _noise(self.cell, 'batch'),
            'before': self._states(self.form, self.stage.reads, self.optional),
            'gates': 'batch gates',
            'now': self._states('{}', self.stage.writes),
        }
        return self._kernel('forward', _STAGE_FORWARD, members)

    def backward(self) -> Kernel:
        """Return the kernel of the gradients of the array code."""
        out = self._states('g{}_prev', self.stage.reads, self.optional)
        members = {
            **self._saved(),
            'weights': self._vectors(),
            'gpre': 'batch gates',
            'out': out,
        }
        return self._kernel('backward', _STAGE_BACKWARD, members)

    def step_forward(self) -> Kernel:
        """Return the kernel of the products and the array code."""
        members: Members = {
            'x': self._of_first('batch inputs'),
            'W': self._of_first('gates inputs'),
            'b': self._of_first('gates'),
            'numbers': ' '.join(self.cell.numbers),
            'before': self._states(self.form, self.stage.reads, self.optional),
            'alone': self._states(self.form, self.alone, self.alone),
            'weights': self._weights(self.optional),
            'packed_W': self._of_first('padded_gates inputs?'),
            'packed': self._packed(),
            'noise': _noise(self.cell, 'batch'),
            # a second stage reads what the first has written
            'gates': 'batch gates?' if len(self.cell.stages) == 1 else 'batch gates',
            'now': self._states('{}', self.stage.writes),
        }
        together = [self._group(self.form, state) for state in self.optional]
        return self._kernel('step_forward', _STEP_FORWARD, members, together)

    def step_backward(self) -> Kernel:
        """Return the kernel of the gradients of both; a weight that is None skips the gradient
        through its product.
        """
        members: Members = {
            **self._saved(),
            'W': self._of_first('gates inputs?'),
            'weights': self._weights(self.cell.states),
            'gpre': 'batch gates',
            'gx': self._of_first('batch inputs?'),
            'out': self._states('g{}_prev', [*self.stage.reads, *self.alone], self.alone),
        }
        together = [self._group('g{}_prev', state) for state in self.alone]
        of_x = [] if self.number else [['W', 'gx']]
        return self._kernel('step_backward', _STEP_BACKWARD, members, [*of_x, *together])

    def _saved(self) -> Members:
        written = [s for stage in self.cell.stages[: self.number + 1] for s in stage.writes]
        return {
            'numbers': ' '.join(self.cell.numbers),
            'noise': _noise(self.cell, 'batch'),
            'gates': 'batch gates',
            'before': self._states(self.form, self.stage.reads, self.optional),
            'now': self._states('{}', self.stage.needs),
            'gradients': self._states('g{}', written, written),
        }

    def _of_first(self, axes: str) -> Optional[str]:
        return None if self.number else axes

    def _states(self, form: str, names: Names, optional: Names = ()) -> Arrays:
        return [
            (form.format(s), 'batch units?' if s in optional else 'batch units')
            if s in names
            else None
            for s in self.cell.states
        ]

    def _weights(self, optional: Names) -> Arrays:
        """Return the weights of the products; those of some states are optional."""
        return [
            _weight(self.cell, p, '?' if p.state in optional else '')
            if p in self.stage.products
            else None
            for p in _products(self.cell)
        ]

    def _packed(self) -> Arrays:
        """Return the same weights as packed panels, see ``native/arguments.hpp``."""
        return [
            (f'packed_{p.weight}', f'padded_{_weight(self.cell, p)[1]}?')
            if p in self.stage.products and not p.diagonal
            else None
            for p in _products(self.cell)
        ]

    def _vectors(self) -> Arrays:
        """Return the weights of the diagonal products."""
        return [
            _weight(self.cell, p) if p.diagonal and p in self.stage.products else None
            for p in _products(self.cell)
        ]

    def _group(self, form: str, state: str) -> list[str]:
        """Return the names of a state that only products read, and of their weights."""
        weights = [p.weight for p in self.stage.products if p.state == state and not p.diagonal]
        return [form.format(state), *weights]

    def _kernel(self, kind: str, text: str, members: Members, together: Together = ()) -> Kernel:
        name = f'{self.cell.name}_{kind}_{self.number}'
        return Kernel(name, text, members, together, len(self.cell.gates))


def _products(cell: Cell) -> list[Product]:
    return [product for stage in cell.stages for product in stage.products]


def _to_all(cell: Cell, product: Product) -> bool:
    """Return whether a product is added to all gates; compiled cells add others to one gate."""
    return tuple(product.gates) == tuple(cell.gates)


def _weight(cell: Cell, product: Product, end: str = '', width: str = 'units') -> tuple[str, str]:
    if product.diagonal:  # a cell may lack some weights of its compiled form
        return product.weight, 'units?'
    rows = 'gates' if _to_all(cell, product) else 'units'
    return product.weight, f'{rows} {width}{end}'


def _noise(cell: Cell, rows: str) -> Arrays:
    return [(name, f'{rows} units?') for name in cell.noise]


def _sequence_kernels(cell: Cell) -> list[Kernel]:
    """Return the kernels for all steps, see ``Layer`` and ``Gradients`` of ``engines.engine``."""
    h = cell.states[-1]
    projects = can_project(cell)
    widths = {s: 'outputs' if projects and s == h else 'units' for s in cell.states}
    weights = [_weight(cell, each, width=widths[each.state]) for each in _products(cell)]
    common: Members = {
        'start': 'steps',
        'n': 'steps',
        'numbers': ' '.join(cell.numbers),
        'weights': weights,
        'masks': [
            None if product.mask is None else (product.mask, 'batch units?')
            for product in _products(cell)
        ],
        'V': 'outputs units=' if projects else None,
        'noise': _noise(cell, 'rows'),
        'states': [(state, f'states {width}') for state, width in widths.items()],
    }
    lateral = cell.lateral.weight
    of_x: Members = {
        'weights': [None if of[0] == lateral else of for of in weights],
        'x': 'rows inputs',
        'W': [(f'W_{gate}', 'units inputs') for gate in cell.gates],
        'U': [(f'{lateral}_{gate}', f'units {widths[cell.lateral.state]}') for gate in cell.gates],
        'b': 'gates',
        'gates': 'rows gates?',
        'm': 'rows units?' if projects else None,
    }
    gradients: Members = {
        'output': [(f'g{h}', f'rows {widths[h]}?')],
        'cells': [None if len(cell.states) == 1 else (f'g{cell.states[0]}', 'rows units?')],
        'gates': 'rows gates',
        'total': [(f'g{h}_total', 'rows outputs?') if projects else None],
        'gradients': [(f'g{state}_last', f'batch {width}') for state, width in widths.items()],
    }
    forward, backward = f'{cell.name}_sequence_forward', f'{cell.name}_sequence_backward'
    gates, groups = len(cell.gates), [['V', 'm']] if projects else []
    of_gradients = [['V', f'g{h}_total']] if projects else []
    return [
        Kernel(forward, _SEQUENCE_FORWARD, {**common, **of_x}, groups, gates),
        Kernel(backward, _SEQUENCE_BACKWARD, {**common, **gradients}, of_gradients, gates),
    ]


def normalized_kernels(cell: Cell) -> list[Kernel]:
    """Return the kernels for all steps of ``NORMALIZED``; saved arrays are named as in
    ``normalization``.
    """
    common: Members = {
        'numbers': ' '.join(cell.numbers),
        **dict.fromkeys(('start', 'n'), 'steps'),
        'U': 'gates units',
        'gamma_h': 'gates',
        **dict.fromkeys(('gamma_c', 'beta_c'), 'units'),
        'gates': 'rows gates',
        'product': [(normalized_of('U'), 'rows gates')],
        'scale': [(scale_of('U'), 'rows')],
        **dict.fromkeys(('c', 'h'), 'states units'),
    }
    gradients: Members = {
        **dict.fromkeys(('gh', 'gc'), 'rows units?'),
        'gradient': [(gradient_of('U'), 'rows gates')],
        'of_gamma': [(rows_of('gamma_c'), 'rows units')],
        'of_beta': [(rows_of('beta_c'), 'rows units')],
        **dict.fromkeys(('gc_last', 'gh_last'), 'batch units'),
    }
    name, gates = f'{cell.name}_sequence_', len(cell.gates)
    return [
        Kernel(name + 'forward', _NORMALIZED_FORWARD, common, gates=gates),
        Kernel(name + 'backward', _NORMALIZED_BACKWARD, {**common, **gradients}, gates=gates),
    ]


def _check_limits(cell: Cell) -> None:
    """Expect a cell that the compiled kernels can compute.

    Raises:
        ValueError: they cannot.
    """
    products, first = _products(cell), cell.stages[0]
    to_all = [[p for p in stage.products if _to_all(cell, p)] for stage in cell.stages]
    special = [p for p in products if p.diagonal or p.mask is not None]
    fits = (
        tuple(cell.inputs) == tuple(cell.gates)
        and not (cell.norms or cell.vectors)
        and all(len(p.gates) in (1, len(cell.gates)) and p.bias is None for p in products)
        and all(len(wide) <= 1 for wide in to_all)
        and (not special or len(cell.stages) == 1)
        and all(p.mask in (None, *cell.sequence_noise) for p in products)
        and all(p.state in first.reads for p in products if p.diagonal)
        and list(cell.numbers)[: len(cell.noise)] == list(cell.noise)
    )
    if not fits:
        raise ValueError(
            f'{cell.name}: expected a cell of x in all gates and of products, without biases and '
            'norms, in one gate or, at most one in each stage, in all gates; of one stage, if '
            'products are diagonal, of states that it reads, or masked, by noise of sequences; and '
            'numbers that begin with the names of noise'
        )


def kernels_of(cell: Cell) -> list[Kernel]:
    """Return the kernels of a compiled cell, each of whose products goes to all gates or to one.

    Their names, with S for the number of a stage:

    - NAME_forward_S, NAME_backward_S: a stage without its products.
    - NAME_step_forward_S, NAME_step_backward_S: a stage with its products.
    - NAME_sequence_forward, NAME_sequence_backward: all steps.
    """
    _check_limits(cell)
    found = []
    for number in range(len(cell.stages)):
        stage = _StageKernels(cell, number)
        found += [stage.forward(), stage.backward(), stage.step_forward(), stage.step_backward()]
    return [*found, *_sequence_kernels(cell)]


def description(cell: Cell) -> str:
    """Return a compiled cell as text, to compare with the cell that the C++ library was built from.
    Gates, states and weights are numbered; a set is the sum of 2 ** k over its members.
    """
    weights = [product.weight for product in _products(cell)]
    names = {
        'gates': cell.gates,
        'states': cell.states,
        'weights': weights,
        'noise': cell.noise,
        'numbers': list(cell.numbers)[len(cell.noise) :],
    }
    parts = [f'{name} {", ".join(values)}' for name, values in names.items()]
    for stage in cell.stages:
        numbers = [_set(cell.gates, stage.gates)]
        numbers += [_set(cell.states, s) for s in (stage.reads, stage.writes, stage.needs)]
        for product in stage.products:
            gate = -1 if _to_all(cell, product) else cell.gates.index(product.gates[0])
            state, kind = cell.states.index(product.state), product.diagonal + product.new
            numbers += [weights.index(product.weight), state, gate, kind]
        parts.append(' '.join(map(str, ['stage', *numbers])))
    return '; '.join(parts)


def _set(names: Names, members: Names) -> int:
    return sum(1 << names.index(name) for name in members)
