"""Options of the tests, which cases they choose, and fixtures of all tests."""

import collections
import gc
import itertools
import os
import zlib

# lets Chainer be imported in a clone that is not installed
import chainer_lstm  # noqa: F401  isort: skip
import numpy
import pytest

from tests.support import refusals
from tests.support.engines import ENGINES, is_missing, no_gpu
from tests.support.pairwise import covering

FOR_GPU = pytest.StashKey[int]()  # the number of cases left out


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


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Tens of thousands of cases are no garbage: a third of the time went into looking for some."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)  # of what -k and -m have left
def pytest_collection_modifyitems(config, items):
    chosen, for_gpu = set(), set()
    for cases in _cases_of_tests(items):
        if len(cases) > 1 and not config.getoption('--all-combinations'):
            cases = _pairwise(cases)
        if no_gpu() is not None:
            for_gpu.update(filter(_needs_gpu, cases))
            cases = [item for item in cases if item not in for_gpu]
        chosen.update(_spread(cases, config.getoption('--sample')))
    config.stash[FOR_GPU] = len(for_gpu)
    left_out = [item for item in items if item not in chosen]
    if left_out:
        items[:] = [item for item in items if item in chosen]
        config.hook.pytest_deselected(items=left_out)
    if hasattr(config, 'workerinput'):  # a process of pytest-xdist
        _slow_files_first(items)


def _cases_of_tests(items):
    tests = collections.defaultdict(list)
    for item in items:
        tests[item.nodeid.partition('[')[0]].append(item)
    return tests.values()


def _pairwise(cases):
    """Of a test that is marked so: cases in which every pair of values occurs.

    Apart: a case whose engine is not there covers nothing of what runs.
    """
    if not cases[0].get_closest_marker('pairwise'):
        return cases
    chosen = []
    for group in filter(_runs, cases), itertools.filterfalse(_runs, cases):
        group = list(group)
        rows = [tuple(map(id, item.callspec.params.values())) for item in group]
        chosen += [group[k] for k in covering(rows)]
    return chosen


def _runs(item):
    """Whether all engines of a case, by the names in its parameters, are there."""
    names = {value for value in item.callspec.params.values() if isinstance(value, str)}
    return not any(is_missing(name) for name in names & ENGINES)


def _needs_gpu(item):
    return item.get_closest_marker('gpu') is not None


def _spread(cases, most):
    """At most so many cases, or all: evenly spread, from a first one that depends on the name."""
    if most is None or len(cases) <= most:
        return cases
    name = cases[0].nodeid.partition('[')[0]
    first = zlib.crc32(name.encode()) % len(cases)
    return [cases[(first + k * len(cases) // most) % len(cases)] for k in range(most)]


def _slow_files_first(items):
    """So that no process is left alone with one of them at the end."""
    slow = {item.path for item in items if item.get_closest_marker('slow')}
    items.sort(key=lambda item: item.path not in slow)


def pytest_sessionfinish(session):
    if hasattr(session.config, 'workeroutput'):
        session.config.workeroutput['for_gpu'] = session.config.stash.get(FOR_GPU, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Every process of pytest-xdist has chosen among all cases."""
    node.config.stash[FOR_GPU] = getattr(node, 'workeroutput', {}).get('for_gpu', 0)


def pytest_terminal_summary(terminalreporter, config):
    number = config.stash.get(FOR_GPU, 0)
    if number:
        terminalreporter.write_line(f'left out {number} cases that need a GPU: {no_gpu()}')


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


@pytest.fixture
def refuses(tmp_path, monkeypatch):
    """``refusals.check``, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return refusals.check
