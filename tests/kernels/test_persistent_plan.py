"""Which blocks do what."""

import pytest

from chainer_lstm.kernels.engines import persistent_plan as plans

H100 = plans.Device(90, 132, 232_448)
L4 = plans.Device(89, 58, 101_376)


def described(*args):
    grid = plans.plan(*args)
    return grid.kernel.split, grid.kernel.blocks, grid.rows, grid.jobs, grid.groups


@pytest.mark.parametrize(
    ('case', 'expected'),
    [
        # direction, units, batch, jobs -> split, blocks, rows, jobs, groups of a block
        (('fwd', 650, 20, 1), (1, 41, 3, 1, 1)),
        (('bwd', 650, 20, 1), (4, 44, 3, 1, 1)),
        (('fwd', 200, 20, 2), (1, 13, 3, 2, 1)),
        (('bwd', 256, 32, 2), (1, 16, 4, 2, 1)),
        (('bwd', 512, 64, 1), (1, 32, 4, 1, 2)),
        (('fwd', 1024, 64, 1), (1, 64, 2, 1, 4)),
        (
            ('fwd', 650, 64, 2),
            (1, 41, 3, 1, 3),
        ),  # both directions side by side would take longer than in turn
        (('fwd', 1, 1, 1), (1, 1, 1, 1, 1)),
    ],
)
def test_plan_for_an_h100(case, expected):
    direction, units, batch, jobs = case
    assert described(direction, units, 'high', batch, jobs, H100) == expected


def test_the_smaller_split_where_it_saves_a_turn():
    direction, units, precision, batch, jobs = 'bwd', 650, 'high', 20, 1
    for multiprocessors, expected in (
        (132, (4, 44, 3, 1, 1)),
        (128, (2, 42, 3, 1, 1)),
        (114, (4, 44, 2, 1, 2)),
    ):
        device = H100._replace(multiprocessors=multiprocessors)
        assert described(direction, units, precision, batch, jobs, device) == expected


@pytest.mark.parametrize(
    ('units', 'precision', 'batch', 'device', 'message'),
    [
        (
            650,
            'high',
            20,
            H100._replace(capability=75),
            'compute capability 8.0, this device has 7.5',
        ),
        (
            2000,
            'high',
            20,
            H100,
            '2000 units and a batch of 20 .* do not fit into the 132 multiprocessors',
        ),
        (1024, 'highest', 8, L4, '1024 units and a batch of 8'),
        (650, 'highest', 8 * 16 * 3 + 1, H100, 'a batch of 385'),
    ],
)
@pytest.mark.parametrize('direction', ['fwd', 'bwd'])
def test_what_does_not_fit(direction, units, precision, batch, device, message):
    with pytest.raises(ValueError, match=message):
        plans.plan(direction, units, precision, batch, 1, device)


@pytest.mark.parametrize('direction', ['fwd', 'bwd'])
@pytest.mark.parametrize('precision', plans.PRECISIONS)
def test_every_plan_fits(direction, precision):
    for device in (H100, L4, plans.Device(80, 108, 166_912), plans.Device(90, 16, 232_448)):
        for units in (*range(1, 40), *range(40, 2200, 97)):
            for batch in (1, 8, 9, 20, 64, 200):
                for jobs in (1, 2):
                    try:
                        grid = plans.plan(direction, units, precision, batch, jobs, device)
                    except ValueError:
                        continue
                    kernel = grid.kernel
                    assert kernel.blocks * grid.rows * grid.jobs <= device.multiprocessors
                    assert kernel.blocks * plans.TILE >= units
                    assert (
                        (grid.rows - 1) * grid.groups * plans.GROUP
                        < batch
                        <= grid.rows * grid.groups * plans.GROUP
                    )
                    assert grid.shared_bytes <= device.shared_memory
                    assert kernel.steps(-(-batch // plans.GROUP)) >= 1
