"""How many threads the C++ engine starts, which of them a job wakes, and how they wait."""

import math
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from chainer_lstm.kernels.native import cores
from tests.kernels import cases
from tests.support.interpreter import answer

LIMIT = (
    'from chainer_lstm.kernels import native; '
    'print(native.library().chainer_lstm_get_num_threads())'
)


@pytest.mark.parametrize(
    ('setting', 'expected'), [('1', 1), ('2', 2), ('4,2', 4), ('0', None), ('many', None)]
)
def test_omp_num_threads(setting, expected):
    """The setting, but not more than there are processors; without one, as many as cores."""
    cases.native_engine('baseline')
    found = int(answer(LIMIT, OMP_NUM_THREADS=setting))
    assert found == (cores.cores() if expected is None else min(expected, cores.processors()))
    assert 1 <= cores.cores() <= cores.processors() <= os.cpu_count()


# group and mounts of a process, the quotas of some folders, and how many cores these are
QUOTAS = {
    'version 2, of the group': (
        ['0::/user/job'],
        ['30 23 0:26 / /cg rw shared:4 - cgroup2 cgroup2 rw'],
        {'cg/user/job/cpu.max': '150000 100000', 'cg/user/cpu.max': 'max 100000'},
        1.5,
    ),
    'version 2, of a group above it': (
        ['0::/user/job'],
        ['30 23 0:26 / /cg rw - cgroup2 cgroup2 rw'],
        {'cg/user/job/cpu.max': '400000 100000', 'cg/user/cpu.max': '100000 50000'},
        2,
    ),
    'version 2, of another group': (
        ['0::/user/job'],
        ['30 23 0:26 / /cg rw - cgroup2 cgroup2 rw'],
        {'cg/user/job/cpu.max': 'max 100000', 'cg/user/other/cpu.max': '100000 100000'},
        math.inf,
    ),
    'version 1': (
        ['3:cpuset:/', '2:cpu,cpuacct:/job', '0::/'],
        [
            '31 23 0:27 / /cg/set rw - cgroup cgroup rw,cpuset',
            '32 23 0:28 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct',
            '33 23 0:29 / /cg/unified rw - cgroup2 cgroup2 rw',
        ],
        {'cg/cpu/job/cpu.cfs_quota_us': '50000', 'cg/cpu/job/cpu.cfs_period_us': '100000'},
        0.5,
    ),
    'version 1, none': (
        ['2:cpu:/'],
        ['32 23 0:28 / /cg/cpu rw - cgroup cgroup rw,cpu'],
        {'cg/cpu/cpu.cfs_quota_us': '-1', 'cg/cpu/cpu.cfs_period_us': '100000'},
        math.inf,
    ),
    'mounted from the group on': (
        ['2:cpu:/docker/abc'],
        ['32 23 0:28 /docker/abc /cg/cpu ro - cgroup cgroup rw,cpu'],
        {'cg/cpu/cpu.cfs_quota_us': '300000', 'cg/cpu/cpu.cfs_period_us': '100000'},
        3,
    ),
    'seen from elsewhere': (
        ['0::/../../abc'],
        ['30 23 0:26 / /cg rw - cgroup2 cgroup2 rw'],
        {'cg/cpu.max': '300000 100000'},
        3,
    ),
    'not understood': (
        ['0::/'],
        ['30 23 0:26 / /cg rw - cgroup2 cgroup2 rw'],
        {'cg/cpu.max': 'plenty'},
        math.inf,
    ),
}


@pytest.mark.parametrize(('groups', 'mounts', 'files', 'expected'), QUOTAS.values(), ids=QUOTAS)
def test_quota(tmp_path, groups, mounts, files, expected):
    lines = {'proc/self/cgroup': groups, 'proc/self/mountinfo': mounts}
    for name, text in {**{k: '\n'.join(v) for k, v in lines.items()}, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + '\n')
    assert cores.quota(tmp_path) == expected


def test_quota_where_there_are_no_groups(tmp_path):
    assert cores.quota(tmp_path) == math.inf


@pytest.mark.skipif(not hasattr(os, 'sched_getaffinity'), reason='without affinity: all cores')
@pytest.mark.parametrize(('quota', 'expected'), [(0.2, 1), (1.5, 2), (2, 2), (math.inf, 5)])
def test_cores_within_a_quota(monkeypatch, quota, expected):
    """A part of a core counts as one."""
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(10**6, 10**6 + 5)))
    monkeypatch.setattr(cores, 'quota', lambda: quota)
    assert cores.processors() == cores.cores() == expected


# prints how often each thread of the pool has gone to sleep: after jobs of 6 threads, and after
# some more of 3, each time when all threads sleep
ASLEEP = """
import os, pathlib, time
import numpy
from chainer_lstm import kernels
from chainer_lstm.kernels import native

TASKS = pathlib.Path('/proc/self/task')

def switches(task):
    lines = (TASKS / task / 'status').read_text().splitlines()
    return [int(line.split()[1]) for line in lines if 'ctxt_switches' in line]

def state(task):
    return (TASKS / task / 'stat').read_text().rpartition(')')[2].split()[0]

library = native.library()
engine = kernels.engine_of(numpy.ones(1))
x = numpy.ones((64, 64), 'f')
before = set(os.listdir(TASKS))
for threads, calls in (6, 1), (3, 20):
    library.chainer_lstm_force_threads(threads)
    for _ in range(calls):
        engine.matmul(x, x)
    pool = sorted(set(os.listdir(TASKS)) - before, key=int)
    end = time.monotonic() + 20
    while any(state(task) != 'S' for task in pool) and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(pool) == 5 and all(state(task) == 'S' for task in pool)
    print(*(sum(switches(task)) for task in pool))
time.sleep(0.1)
print(*(sum(switches(task)) for task in pool))
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='reads the threads of /proc')
def test_threads_that_a_job_does_not_need_stay_asleep():
    """And all sleep when there is nothing to do."""
    cases.native_engine('baseline')
    lines = answer(ASLEEP).splitlines()
    first, then, later = ([int(count) for count in line.split()] for line in lines)
    assert first[2:] == then[2:]
    assert first[0] < then[0] and first[1] < then[1]
    assert then == later


# a thousand jobs whose second thread shares one core with the first
ON_ONE = """
import os
import numpy
from chainer_lstm import kernels

engine = kernels.engine_of(numpy.ones(1))  # sees all cores
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
random = numpy.random.RandomState(0)
x = random.randint(0, 3, (40, 150)).astype('f')
expected = x.astype('d') @ x.T
before = len(os.listdir('/proc/self/task'))
for _ in range(1000):
    assert (engine.matmul(x, x.T) == expected).all()
print(len(os.listdir('/proc/self/task')) - before)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='reads the threads of /proc')
@pytest.mark.skipif(cores.processors() < 2, reason='one thread on one processor')
def test_threads_without_a_core():
    """Products are right where the job begins without them, or they come late."""
    cases.native_engine('baseline')
    assert answer(ON_ONE, OMP_NUM_THREADS='2') == '1'


@pytest.fixture(scope='module')
def crowding(tmp_path_factory):
    """Runs jobs by a clock that is set by hand: (idle, job, slept, late) -> what each was."""
    if shutil.which('g++') is None:
        pytest.skip('there is no g++')
    program = tmp_path_factory.mktemp('crowding') / 'crowding'
    source = pathlib.Path(__file__).with_name('crowding.cpp')
    subprocess.run(['g++', '-std=c++17', source, '-o', program], check=True)

    def run(jobs):
        lines = ''.join(f'{" ".join(map(str, job))}\n' for job in jobs)
        done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    return run


QUIET, LATE = (10, 100, 0, 0), (10, 100, 0, 1)  # idle, job, slept: microseconds; late
CROWDED = (10, 1000, 501, 0)


@pytest.mark.parametrize(
    ('jobs', 'alone'),
    [
        ([QUIET] * 20, []),
        ([(10, 1000, 500, 0)] * 20, []),  # threads that are slow, not away
        ([CROWDED, *[QUIET] * 20], range(1, 10)),  # for as long as the job: 1,000 microseconds
        # soon again, while one of 11 jobs tries: for twice as long
        ([CROWDED, *[QUIET] * 10, CROWDED, *[QUIET] * 30], [*range(1, 10), *range(12, 31)]),
        # until eight times as long has passed; and later: as the first time
        ([CROWDED, *[QUIET] * 81, CROWDED, *[QUIET] * 30], [*range(1, 10), *range(83, 102)]),
        ([CROWDED, *[QUIET] * 82, CROWDED, *[QUIET] * 20], [*range(1, 10), *range(84, 93)]),
        # a job that takes long: not for longer than 64 milliseconds
        ([(0, 100_000, 99_000, 0), *[(0, 1000, 0, 0)] * 80], range(1, 65)),
        # a millisecond of jobs to which a thread is late, then as long alone
        ([*[LATE] * 11, *[QUIET] * 20], range(11, 22)),
        ([*[LATE] * 11, *[QUIET] * 11, LATE, *[QUIET] * 10], range(11, 22)),  # it counts anew
        ([(10, 90, 0, 1)] * 11 + [QUIET] * 10, []),  # exactly a millisecond
        ([*[LATE] * 10, QUIET, *[LATE] * 10, *[QUIET] * 20], []),  # it came in between
    ],
)
def test_jobs_run_alone_beside_other_processes(crowding, jobs, alone):
    assert [k for k, kind in enumerate(crowding(jobs)) if kind == 'alone'] == list(alone)


def test_a_job_knows_whether_a_thread_was_late(crowding):
    kinds = crowding([QUIET, LATE, LATE, QUIET, QUIET])
    assert kinds == ['shared', 'shared', 'after a late one', 'after a late one', 'shared']


# prints the exit codes of children; one that hangs ends by the alarm
FORKS = """
import os, signal, warnings
import numpy
from chainer_lstm import kernels
from chainer_lstm.kernels import native

warnings.simplefilter('ignore', DeprecationWarning)  # of Python 3.12 on: the process has threads
native.library().chainer_lstm_force_threads(2)
engine = kernels.engine_of(numpy.ones(1))
x = numpy.random.RandomState(0).rand(90, 120)
expected = engine.matmul(x, x.T)
for _ in range(3):
    child = os.fork()
    if not child:
        signal.alarm(100)
        os._exit(not (engine.matmul(x, x.T) == expected).all())
    print(os.waitpid(child, 0)[1])
    assert (engine.matmul(x, x.T) == expected).all()
"""


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='this system does not fork')
def test_after_a_fork():
    """The child starts threads of its own, the parent keeps its threads.

    In a process without threads but those: if another one allocates memory during a fork, or ends,
    a lock of AddressSanitizer may stay locked in the child (before LLVM 18, which holds it).
    """
    cases.native_engine('baseline')
    assert answer(FORKS, OPENBLAS_NUM_THREADS='1').splitlines() == ['0'] * 3
