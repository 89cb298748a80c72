"""The persistent kernels and their engine, run on the CPU with threads and blocks in any order."""

import numpy
import pytest

from chainer_lstm.kernels.engines import persistent_plan as plans
from tests.kernels import fibres, persistent_cases
from tests.kernels.persistent_cases import Case, ragged

RAGGED = (6, 6, 5, 5, 5, 3, 3, 2, 1, 1, 0)

# what is run -> the case, and how: units of backward's split, multiprocessors,
# registers for weights, steps of a launch
CASES = {
    'one unit, row and step': (Case(1, (1,)), {}),
    'one group': (Case(5, (4, 4, 2)), {}),
    'equal lengths': (Case(37, (6,) * 11), {}),
    'equal lengths, reverse': (Case(37, (6,) * 11, directions=(True,)), {}),
    'ragged': (Case(37, RAGGED), {}),
    'ragged, reverse': (Case(37, RAGGED, directions=(True,)), {}),
    'ragged, both': (Case(37, RAGGED, directions=(False, True)), {}),
    'ragged, both, tf32': (Case(50, RAGGED, 'high', (False, True)), {}),
    'ragged, both, bf16': (Case(50, RAGGED, 'medium', (False, True)), {}),
    'both, one after the other': (
        Case(37, RAGGED, directions=(False, True)),
        {'multiprocessors': 5},
    ),
    'no gradient of h': (Case(20, RAGGED, with_gh=False), {}),
    'no gradient of last states': (Case(37, RAGGED[:-1], from_zeros=True), {}),
    'no gradient of last states, several launches': (
        Case(21, ragged(11, 7), directions=(True,), from_zeros=True),
        {'steps': 2, 'split': 2},
    ),
    'gradient of b of three rows of blocks': (Case(5, (3,) * 20), {}),
    'gradient of h beside another': (Case(20, RAGGED, apart=20), {}),
    'split in 2': (Case(37, RAGGED), {'split': 2}),
    'split in 4': (Case(37, RAGGED), {'split': 4}),
    'split in 4, tf32, both': (Case(66, RAGGED, 'high', (False, True)), {'split': 4}),
    'split in 4, bf16, reverse': (Case(70, RAGGED, 'medium', (True,)), {'split': 4}),
    'split in 2, equal, tf32': (Case(40, (5,) * 9, 'high'), {'split': 2}),
    'groups in turn': (Case(37, ragged(29, 5)), {'multiprocessors': 7}),
    'groups in turn, split in 4': (Case(37, ragged(29, 5)), {'multiprocessors': 9, 'split': 4}),
    'groups in turn, split in 2, both': (
        Case(21, ragged(25, 6), directions=(False, True)),
        {'multiprocessors': 10, 'split': 2},
    ),
    'weights in shared memory': (Case(140, (3, 3, 2, 1)), {'registers': 32}),
    'weights in shared memory, split in 4': (
        Case(150, (3, 3, 2, 1), 'high'),
        {'registers': 32, 'split': 4},
    ),
    'weights in shared memory, bf16, split in 2': (
        Case(150, (3, 3, 2, 1), 'medium'),
        {'registers': 16, 'split': 2},
    ),
    'several launches': (Case(37, ragged(11, 9)), {'steps': 2}),
    'several launches, reverse, split in 4': (
        Case(37, ragged(11, 9), directions=(True,)),
        {'steps': 3, 'split': 4},
    ),
    'several launches, groups in turn': (
        Case(20, ragged(20, 7), directions=(False, True)),
        {'steps': 3, 'multiprocessors': 4},
    ),
    'a launch for each step': (Case(20, (4, 4, 1)), {'steps': 1, 'split': 2}),
    'more units than one round of warps': (Case(333, (3, 3, 2), 'high'), {}),
    'all multiprocessors of an H100': (Case(650, (2,) * 16 + (1,), 'high'), {}),
    '1024 units': (Case(1024, (2, 2, 1)), {}),
}

# name -> what stands in the source, what is put there, and what shows it
MUTANTS = {
    'no barrier in forward': (
        'lane, job.error);\n            __syncthreads();',
        'lane, job.error);',
        'ragged',
    ),
    'no barrier in backward': (
        'lane, job.error);\n                __syncthreads();',
        'lane, job.error);',
        'ragged',
    ),
    'no barrier after loading weights': (
        's.gb[thread] = float4{};\n    __syncthreads();',
        's.gb[thread] = float4{};',
        'weights in shared memory, split in 4',
    ),
    'one buffer of sums': ('turn ^= 1;', '', 'groups in turn'),
    'buffers of sums swapped without a barrier': (
        'if (t + 1 < longest) {',
        'turn ^= 1; if (t + 1 < longest) { turn ^= 1;',
        'groups in turn',
    ),
    'no wait for prefetches': ('wait_for_prefetches();', '', 'equal lengths'),
    'only one word is looked at': (
        'return max(max(v.x, v.y), max(v.z, v.w));',
        'return v.x;',
        'ragged',
    ),
    'no word is looked at': ('!any_of_warp(most == UNSET)', 'true', 'ragged'),
    'looks are not repeated': ('largest(b[i]) == UNSET);', 'false);', 'ragged'),
    'slots as they were before': (
        'job.exchange[j] = uint4',
        'if (false) job.exchange[j] = uint4',
        'ragged',
    ),
    'forward writes into the slot that is read': (
        'slot + (groups + g) * SLOT + blockIdx.x * CHUNK, u',
        'slot + g * SLOT + blockIdx.x * CHUNK, u',
        'ragged',
    ),
    'one slot for all steps': (
        'slots + (long long)(t - job.begin) * groups * SLOT',
        'slots',
        'ragged',
    ),
    'boxes of one parity': ('(t & 1)', '0', 'split in 4'),
    'no look at the tag': ('(word)(found[away] >> 32) != tag', '!~found[away]', 'split in 4'),
    'boxes of another mate': ('(part + away) % SPLIT * OWNERS', 'away * OWNERS', 'split in 4'),
    'sums of another mate': ('s.partial[turn][w][mate]', 's.partial[turn][w][part]', 'split in 4'),
    'rows of fragments swapped': (
        'lane / 4 + 8 * (i % 2), k',
        'lane / 4 + 8 * (i / 2), k',
        'one group',
    ),
    'k of fragments in mma order': (
        'k = 16 * chunk + 4 * (lane % 4)',
        'k = 16 * chunk + 2 * (lane % 4)',
        'one group',
    ),
    'words of fragments swapped': (
        'sums[m], a[0][m], b.x, b.y',
        'sums[m], a[0][m], b.y, b.x',
        'one group',
    ),
    'columns of sums swapped': ('lane % 4 * 2;', 'lane / 4 * 2 % 8;', 'ragged'),
    'lower half of sums lost': (
        'partial[m][r + 8][n] =',
        'partial[m][r + 7][n] =',
        'equal lengths',
    ),
    'lo times hi forgotten': ('mma_bf16(sums[m], a[1][m], b.x, b.y)', '', 'equal lengths'),
    'hi times lo forgotten': ('mma_bf16(sums[m], a[0][m], b.z, b.w)', '', 'equal lengths'),
    'a warp too few': (
        'w < WARPS; w++)\n#pragma unroll\n                    for (int i',
        'w < WARPS - 1; w++)\n#pragma unroll\n                    for (int i',
        'weights in shared memory',
    ),
    'last chunk forgotten': ('i * WARPS + warp < NK', 'i * WARPS + warp < NK - 1', 'equal lengths'),
    'rows beyond the batch': ('row >= job.batch ? 0 : ', '', 'equal lengths'),
    'units beyond the last in forward': (
        'live = owner && unit < H',
        'live = owner',
        'equal lengths',
    ),
    'units beyond the last in backward': (
        'real = owner && unit < H',
        'real = owner',
        'equal lengths',
    ),
    'bias forgotten': ('at < 4 * H ? job.b[at] : 0.f', '0.f', 'one group'),
    'bias of another unit': ('b = s.b[u];', 'b = s.b[n];', 'equal lengths'),
    'bias beyond the last unit': ('at < 4 * H ? job.b[at] : 0.f', 'job.b[at + 64]', 'one group'),
    'finished rows go on': ('unit < H && t < length;', 'unit < H;', 'ragged'),
    'reverse ignored': ('job.reverse ?', 'false ?', 'ragged, reverse'),
    'initial h forgotten': (
        'job.h[to] = h = job.h0[from]',
        'job.h[to] = job.h0[from]',
        'one group',
    ),
    'initial h not kept': ('job.h[to] = h =', 'h =', 'one group'),
    'initial c not kept': ('job.c[to] = state =', 'state =', 'ragged'),
    'initial states in every launch': ('job.h0 && job.begin == 0', 'job.h0', 'several launches'),
    'last gradients in every step': ('t == min(length, job.end) - 1;', 'true;', 'equal lengths'),
    'state between launches lost': (
        't < 0) return job.initial',
        't < job.begin) return job.initial',
        'several launches',
    ),
    'gradients between launches lost': (
        'const bool joins = t == min(length, job.end) - 1',
        'const bool joins = t == length - 1',
        'several launches',
    ),
    'ended rows overwritten between launches': (
        'real && job.begin < length',
        'real && job.begin <= length',
        'several launches, reverse, split in 4',
    ),
    'last states of empty sequences forgotten': ('if (length == 0) {', 'if (false) {', 'ragged'),
    'last states after another step': (
        'job.hy && t == length - 1',
        'job.hy && t == job.end - 1',
        'ragged',
    ),
    'last states taken for zeros in every launch': (
        'job.from_zeros && length <= job.end',
        'job.from_zeros',
        'no gradient of last states, several launches',
    ),
    'last gradients read where there are none': (
        'job.from_zeros && length <= job.end',
        'false',
        'no gradient of last states',
    ),
    'gradient of b of the last launch alone': (
        'job.end < job.steps ? job.gb[gate] : 0.f',
        '0.f',
        'several launches',
    ),
    'gradient of b added to what was there': (
        'job.end < job.steps ? job.gb[gate] : 0.f',
        'job.gb[gate]',
        'one group',
    ),
    'gradient of b of one row of blocks': (
        'for (int y = 1; y',
        'for (int y = 1; false && y',
        'ragged',
    ),
    'gradient of b of the last row of blocks': (
        'boxes + y * (BLOCKS',
        'boxes + (BLOCKS',
        'gradient of b of three rows of blocks',
    ),
    'gradient of b before it has come': (
        '(found = load_relaxed(boxes + y * (BLOCKS * GATES) + gate)) >> 32',
        '(found = load_relaxed(boxes + y * (BLOCKS * GATES) + gate), 0)',
        'gradient of b of three rows of blocks',
    ),
    'gradient of b of other rows': (
        'mask < GROUP; mask *= 2',
        'mask < GROUP / 2; mask *= 2',
        'equal lengths',
    ),
    'gradient of b beyond the last unit': (
        'n >= LstmCell::gates || unit >= H',
        'n >= LstmCell::gates',
        'one group',
    ),
    'gradient of b from what was there': ('if (owner) s.gb[thread] = float4{};', '', 'one group'),
    'boxes of b in those of sums': (
        'boxes = end - gridDim.y * (BLOCKS * GATES)',
        'boxes = reinterpret_cast<tagged*>(job.exchange)',
        'split in 4',
    ),
    'gh of the wrong stride': ('job.gh_stride', 'H', 'gradient of h beside another'),
    'jobs mixed up': ('jobs.job[blockIdx.z]', 'jobs.job[0]', 'ragged, both'),
}

# what the emulation itself says, by the edit that makes it say so
OUTCOMES = {
    'deadlock': (
        'job.error);\n            __syncthreads();',
        'job.error);\n            if (warp) __syncthreads();',
    ),
    'the lanes of a warp met in different operations': (
        'from_lane_xor(h, GROUP);',
        'unit % 2 ? from_lane_xor(h, GROUP) : float(any_of_warp(true));',
    ),
    'written outside of shared memory': ('c[k][thread] = live', 'c[k + 1][thread] = live'),
}


@pytest.fixture(autouse=True)
def _needs_a_compiler():
    if fibres.missing():
        pytest.skip(fibres.missing())


def prepared(monkeypatch, name, **options):
    """A case and an engine for it."""
    case, how = CASES[name]
    if 'split' in how:
        monkeypatch.setattr(
            plans,
            'kernels',
            lambda direction, *args: [
                plans.Kernel(direction, *args, 1 if direction == 'fwd' else how['split'])
            ],
        )
    if 'registers' in how:
        budgets = dict.fromkeys(plans._WEIGHT_REGISTERS, how['registers'])
        monkeypatch.setattr(plans, '_WEIGHT_REGISTERS', budgets)
    if 'steps' in how:
        monkeypatch.setattr(plans.Kernel, 'steps', lambda self, groups: how['steps'])
    device = {key: value for key, value in how.items() if key == 'multiprocessors'}
    return case, fibres.engine(monkeypatch, case.precision, **device, **options)


def check(monkeypatch, name, seed=1, **options):
    case, engine = prepared(monkeypatch, name, seed=seed, **options)
    found = persistent_cases.check(engine, engine.xp, case)
    assert not engine.error[0], 'a kernel timed out'
    engine.xp.check_guards()
    return found


@pytest.mark.parametrize('name', CASES)
def test_agrees_with_float64(monkeypatch, name):
    """And computes the same bits in whatever order the threads run."""
    first, *others = (
        check(monkeypatch, name, seed) for seed in ((1,) if CASES[name][0].units > 500 else (1, 2))
    )
    for other in others:
        numpy.testing.assert_equal(other, first)


@pytest.mark.parametrize('mutant', MUTANTS)
def test_mutant(monkeypatch, mutant):
    old, new, name = MUTANTS[mutant]
    texts = []

    def edit(text):
        texts.append(old in text)
        return text.replace(old, new)

    with pytest.raises((AssertionError, RuntimeError)):
        for seed in range(1, 7):
            check(monkeypatch, name, seed, edit=edit, spin_limit=20_000)
    assert any(texts), 'the source has changed: mutate what stands there now'


@pytest.mark.slow
@pytest.mark.parametrize('outcome', OUTCOMES)
def test_outcome_of_the_emulation(monkeypatch, outcome):
    def edit(text):
        assert old in text or 'lstm_sequence_bwd' in text
        return text.replace(old, new)

    old, new = OUTCOMES[outcome]
    with pytest.raises(fibres.Failure, match=outcome):
        check(monkeypatch, 'equal lengths', edit=edit)


@pytest.mark.parametrize('precision', plans.PRECISIONS)
def test_nan_stays_in_its_sequence(monkeypatch, precision):
    """A NaN with the bits of an empty word must neither be waited for nor reach other sequences."""
    case, batch = Case(37, (4,) * 11, precision), 11
    engine = fibres.engine(monkeypatch, precision)
    (given,) = inputs = persistent_cases.make(case)
    given.x[3, 1] = given.gh[3 * batch + 5, 2] = numpy.nan
    (found,) = persistent_cases.run(engine, engine.xp, case, inputs)
    assert not engine.error[0]
    for name, x in zip(persistent_cases.RESULTS, found):
        if name == 'gb':
            continue
        rows, _ = numpy.nonzero(numpy.isnan(x))
        expected = {3, 5} if name.startswith('g') and name != 'gates' else {3}
        assert {*(rows % batch).tolist()} == expected, name


@pytest.mark.parametrize('name', ['equal lengths', 'split in 4'])
@pytest.mark.parametrize('direction', ['fwd', 'bwd'])
def test_blocks_that_do_not_run(monkeypatch, name, direction):
    """Should a cooperative launch not do what it promises:
    no hang but NaN, and an exception in the next call.
    """
    case, engine = prepared(monkeypatch, name)
    layers, gradients = persistent_cases.jobs(engine.xp, case, persistent_cases.make(case))
    if direction == 'bwd':
        gates = engine.sequence_forward(layers, keep=True)
    case, engine = prepared(monkeypatch, name, resident=2, spin_limit=3000)
    if direction == 'fwd':
        engine.sequence_forward(layers, keep=True)
        assert numpy.isnan(layers[0].states.h[-1]).all()
    else:
        (before,) = engine.sequence_backward(layers, gates, gradients)
        assert numpy.isnan(before.h[0]).all()
    with pytest.raises(RuntimeError, match='timed out waiting'):
        engine.sequence_forward(layers, keep=True)
    assert not engine.error[0]
