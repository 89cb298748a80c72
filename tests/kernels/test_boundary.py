"""Every kernel of the library through ``kernels.boundary``: wrong arrays raise, nothing runs.

Arrays have no spare memory around them, so AddressSanitizer (``make sanitize``) sees a kernel that
runs on a wrong one.
"""

import re

import numpy
import pytest

from chainer_lstm.kernels import boundary, native
from chainer_lstm.kernels.packing import Rows
from tests.kernels import cases
from tests.kernels.boundary_cases import (
    arrays_of,
    check_wrong_arrays,
    refuses,
    sizes_of,
    strided,
    with_one,
)
from tests.support.arrays import unaligned

pytestmark = pytest.mark.pairwise


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def backwards(x):
    return x[::-1].copy()[::-1]


LAYOUTS = {
    'strided': strided,
    'unaligned': unaligned,
    'read-only': read_only,
    'Fortran': numpy.asfortranarray,
    'backwards': backwards,
}


@pytest.fixture(params=[(name, dtype) for name in boundary.KERNELS for dtype in 'fd'], ids='-'.join)
def native_call(request):
    """A kernel of the library, its sizes, right arrays, and a function that calls it."""
    name, dtype = request.param
    engine = cases.native_engine((native.instruction_sets() or ['baseline'])[0])
    kernel = boundary.KERNELS[name]
    sizes = sizes_of(kernel)
    function = native.kernel(engine.instruction_set, name, numpy.dtype(dtype))
    return kernel, sizes, arrays_of(kernel, dtype), lambda arrays: function(sizes, *arrays)


def results(kernel, arrays, call):
    """What a call writes."""
    call(arrays)
    return [x for argument, x in zip(kernel.arguments, arrays) if argument.written]


@pytest.mark.parametrize('instruction_set', ['baseline', 'avx2', 'avx512'])
@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('name', boundary.KERNELS)
def test_right_arrays(name, dtype, instruction_set):
    cases.native_engine(instruction_set)
    kernel = boundary.KERNELS[name]
    sizes, arrays = sizes_of(kernel), arrays_of(kernel, dtype)
    before = [x.copy() for x in arrays]
    native.kernel(instruction_set, name, numpy.dtype(dtype))(sizes, *arrays)
    for argument, x, y in zip(kernel.arguments, arrays, before):
        assert numpy.isfinite(x).all()
        assert (x != y).any() == argument.written, argument.name


def test_wrong_arrays(native_call):
    kernel, sizes, arrays, call = native_call
    check_wrong_arrays(kernel, sizes, arrays, call)


def test_number_of_arrays(native_call):
    kernel, _, arrays, call = native_call
    for wrong in (arrays[:-1], [*arrays, arrays[-1]], []):
        with pytest.raises(
            ValueError, match=f'{kernel.name}: expected {len(arrays)} arrays, got {len(wrong)}'
        ):
            call(wrong)


def test_optional_arrays(native_call):
    """None is accepted for each optional array alone, or for all that belong together."""
    kernel, _, arrays, call = native_call
    groups = {index: group for group in kernel.together for index in group}
    written = [argument.written for argument in kernel.arguments]
    for index, argument in enumerate(kernel.arguments):
        without = [None if k in groups.get(index, (index,)) else x for k, x in enumerate(arrays)]
        if any(kernel.arguments[k].square for k in groups.get(index, (index,))):
            refuses(call, without, f'{kernel.name}: expected V of shape .*, got None', written)
        elif argument.optional:
            call([None if x is None else x.copy() for x in without])
        if index in groups and not argument.square:
            message = f'{kernel.name}: expected all of .*{argument.name}.* or none, got '
            refuses(call, with_one(arrays, index, None), message, written)


@pytest.mark.parametrize(
    'name', [name for name, kernel in boundary.KERNELS.items() if 'V' in kernel.names]
)
def test_without_a_projection(name):
    """V and what belongs to it may be None where h is as wide as c."""
    engine, kernel = cases.native_engine('baseline'), boundary.KERNELS[name]
    sizes = dict(zip(kernel.sizes, sizes_of(kernel)))
    sizes['outputs'] = sizes['units']
    arrays = arrays_of(kernel, 'd', tuple(sizes.values()))
    for index in kernel.together[0]:
        arrays[index] = None
    native.kernel(engine.instruction_set, name, numpy.dtype('d'))(tuple(sizes.values()), *arrays)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_memory_of_arrays(native_call, layout):
    """Inputs may have any memory order; outputs must be aligned, writable, and dense, or of dense
    rows where a kernel takes them.
    """
    kernel, _, arrays, call = native_call
    expected = results(kernel, [x.copy() for x in arrays], call)
    for index, argument in enumerate(kernel.arguments):
        moved = LAYOUTS[layout](arrays[index].copy())
        same = layout in ('Fortran', 'backwards') and moved.flags.c_contiguous  # of one row or axis
        same = same or (layout == 'backwards' and argument.strides)
        given = [x.copy() if k != index else moved for k, x in enumerate(arrays)]
        if argument.written and not same:
            refuses(
                call, given, f'expected {argument.name}, which is written into', [True] * len(given)
            )
            continue
        for x, y in zip(results(kernel, given, call), expected):
            # products of a transposed matrix add up in another order
            numpy.testing.assert_allclose(
                x, y, rtol=0, atol=8 * numpy.finfo(x.dtype).eps, err_msg=argument.name
            )


def test_rows_of_an_output_beside_a_copied_input():
    """Outputs with a stride of rows are written in place, also where inputs have to be copied."""
    engine, kernel = cases.native_engine('baseline'), boundary.KERNELS['copy_gates']
    arrays = arrays_of(kernel, 'f')
    inputs = [unaligned(x) for x in arrays[:4]]
    outputs = [
        numpy.zeros((len(x), 2 * x.shape[1]), 'f')[:, 1 : 1 + x.shape[1]] for x in arrays[4:]
    ]
    call = native.kernel(engine.instruction_set, 'copy_gates', numpy.dtype('f'))
    call(sizes_of(kernel), *inputs, *outputs)
    for x, y in zip(inputs, outputs):
        numpy.testing.assert_array_equal(x, y)


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize(
    ('name', 'size'),
    [
        (name, size)
        for name, kernel in boundary.KERNELS.items()
        for size in kernel.sizes
        if size not in ('steps', 'first', 'initial')
    ],
)
def test_sizes_of_zero(name, size, dtype):
    """Kernels run on arrays without rows or columns, and write no numbers that are not finite."""
    engine = cases.native_engine((native.instruction_sets() or ['baseline'])[0])
    kernel = boundary.KERNELS[name]
    sizes = dict(zip(kernel.sizes, sizes_of(kernel)))
    sizes[size] = 0
    if 'steps' in sizes and size in ('rows', 'batch'):
        sizes.update(steps=0, rows=0, first=sizes['batch'])
    arrays = [
        x if not argument.integers or argument.name == 'of' else x[: sizes['steps']]
        for argument, x in zip(kernel.arguments, arrays_of(kernel, dtype, sizes.values()))
    ]
    native.kernel(engine.instruction_set, name, numpy.dtype(dtype))(tuple(sizes.values()), *arrays)
    if size != 'classes':  # the largest of no numbers is minus infinity
        assert all(numpy.isfinite(x).all() for x in arrays)


@pytest.mark.parametrize(
    ('instruction_set', 'name', 'dtype'),
    [
        ('baseline', 'matmul', 'e'),
        ('baseline', 'matmul', 'g'),
        ('baseline', 'matmul', 'i'),
        ('baseline', 'matmul', '>f4'),
        ('avx1024', 'matmul', 'f'),
        ('baseline', 'product', 'f'),
    ],
)
def test_a_kernel_that_is_not_there(instruction_set, name, dtype):
    cases.native_engine('baseline')
    with pytest.raises(
        ValueError,
        match=f'expected a kernel of the library, got {name} of .* for {instruction_set}',
    ):
        native.kernel(instruction_set, name, numpy.dtype(dtype))


@pytest.mark.parametrize(
    ('batches', 'batch'),
    [((1, 2), 2), ((2, 1, 2), 2), ((3, 3), 2), ((1,), 0), ((1, -1), 1), ((), -1)],
)
@pytest.mark.parametrize('reverse', [False, True])
def test_rows_that_do_not_fit(batches, batch, reverse):
    message = re.escape(
        f'batches: expected sizes that do not grow, at most {batch}, got {list(batches)}'
    )
    with pytest.raises(ValueError, match=message):
        Rows(batches, batch, reverse)


@pytest.mark.parametrize(
    ('batches', 'batch'), [((), 0), ((), 3), ((2, 2, 1, 0), 2), ((0, 0), 0), ((1,), 3)]
)
def test_rows_that_fit(batches, batch):
    rows = Rows(batches, batch)
    assert rows.total == sum(batches)
    assert rows.table.shape == (2, len(batches))
