"""Options of the tests, which cases they choose, and fixtures of all tests."""

import collections
import itertools
import os

import chainer_lstm  # noqa: F401  isort: skip  (lets Chainer be imported in a clone that is not installed)
import numpy
import pytest

from tests.support.engines import ENGINES, is_missing, no_gpu
from tests.support.pairwise import covering


def pytest_addoption(parser):
    parser.addoption(
        '--sample',
        type=int,
        metavar='N',
        help='run at most N cases of each parametrized test, evenly spread',
    )
    parser.addoption(
        '--all-combinations',
        action='store_true',
        help='run every combination of parameters of tests that are marked "pairwise"',
    )


@pytest.hookimpl(trylast=True)  # of what -k and -m have left
def pytest_collection_modifyitems(config, items):
    most, every = config.getoption('--sample'), config.getoption('--all-combinations')
    cases = collections.defaultdict(list)
    for item in items:
        cases[item.nodeid.partition('[')[0]].append(item)
    left_out = set()
    for of_test in cases.values():
        kept = of_test
        if not every and len(of_test) > 1 and of_test[0].get_closest_marker('pairwise'):
            # apart: a case that is skipped covers nothing of what runs
            kept = _covering(filter(_runs, of_test)) + _covering(
                itertools.filterfalse(_runs, of_test)
            )
        if most is not None and len(kept) > most:
            kept = [kept[k * len(kept) // most] for k in range(most)]
        left_out.update(set(of_test).difference(kept))
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def _covering(items):
    items = list(items)
    rows = [tuple(map(id, item.callspec.params.values())) for item in items]
    return [items[k] for k in covering(rows)]


def _runs(item):
    """Whether all engines of a case, by the names in its parameters, are there."""
    names = {value for value in item.callspec.params.values() if isinstance(value, str)}
    return not any(is_missing(name) for name in names & ENGINES)


@pytest.fixture
def cupy():
    """For tests marked ``gpu``."""
    reason = no_gpu()
    if reason is not None:
        pytest.skip(reason)
    import cupy

    cupy.random.seed(0)
    return cupy


@pytest.fixture(params=['numpy', pytest.param('cupy', marks=pytest.mark.gpu)])
def xp(request):
    """numpy, and cupy where there is a GPU."""
    return numpy if request.param == 'numpy' else request.getfixturevalue('cupy')


@pytest.fixture(scope='session', autouse=True)
def _cache_folder(tmp_path_factory):
    """The verdicts of trials on a GPU are not the user's."""
    os.environ['CHAINER_LSTM_CACHE_DIR'] = str(tmp_path_factory.mktemp('cache'))


@pytest.fixture(autouse=True)
def _seed():
    numpy.random.seed(0)
