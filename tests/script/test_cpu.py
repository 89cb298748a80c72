"""``--cpu``: programs for a GPU on a machine without one."""

import numpy
import pytest

HEAD = """
import numpy as np
import chainer, chainer.functions as F, chainer.links as L
from chainer import cuda, training
"""

# program -> what it prints
PROGRAMS = {
    'devices': (
        """
cuda.check_cuda_available()
for device in (
        cuda.get_device_from_id(1), cuda.get_device(0), cuda.Device(2),
        chainer.get_device('@cupy:3')):
    device.use()
print(cuda.get_device_from_id(1).id, int(cuda.Device(2)),
      chainer.get_device('@cupy:3'), chainer.get_device('0'))
with cuda.get_device_from_id(0) as device, chainer.using_device('@cupy:1'), \\
        chainer.using_device(cuda.Device(0)):
    print(device.id, cuda.available)
""",
        '1 2 @numpy @numpy\n0 False',
    ),
    'arrays': (
        """
x = cuda.to_gpu(np.ones((2, 3), 'f'), device=0)
y = cuda.to_gpu([x, None, (x,)[0]])
before = np.zeros(2)
copy = cuda.to_gpu(before)
before[:] = 1
print(type(x).__name__, y[1], cuda.to_cpu(x) is x, x.get().shape,
      cuda.get_array_module(x) is np, copy)
print(cuda.get_device_from_array(x) == cuda.DummyDevice, F.sum(chainer.Variable(x)).array.get())
""",
        'ndarray None True (2, 3) True [0. 0.]\nTrue 6.0',
    ),
    'links': (
        """
class Net(chainer.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.lstm, self.out, self.W = (
                L.LSTM(3, 2), L.Linear(None, 2), chainer.Parameter(0, (2,)))
        self.moved = []
    def to_gpu(self, device=None):
        super().to_gpu(device)
        self.moved.append(device)
        return self
import copy, pickle
net = Net()
net.to_gpu()
net.to_gpu(1)
net.to_device('@cupy:0')
net.to_cpu()
outer = chainer.Chain(net=net)
outer.to_gpu(0)
for each in (net.W, chainer.Variable(np.ones(3))):
    each.to_gpu(); each.to_gpu(0); each.to_device('@cupy:0')
print(len(net.moved), outer.device, type(pickle.loads(pickle.dumps(outer)).device).__module__,
      copy.deepcopy(outer).device, net.out(net.lstm(np.ones((1, 3), 'f'))).shape)
""",
        '3 @numpy chainer.backends._cpu @numpy (1, 2)',
    ),
    'training': (
        """
import tempfile
data = [(np.ones(3, 'f'), np.int32(1))] * 8
iterator = chainer.iterators.SerialIterator(data, 4)
model = L.Classifier(L.Linear(3, 2))
optimizer = chainer.optimizers.Adam().setup(model)
optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(.1))
optimizer.add_hook(chainer.optimizer_hooks.GradientNoise(.1))
updater = training.StandardUpdater(iterator, optimizer, device=0)
with tempfile.TemporaryDirectory() as folder:
    trainer = training.Trainer(updater, (2, 'epoch'), folder)
    trainer.extend(training.extensions.Evaluator(
        chainer.iterators.SerialIterator(data, 4, repeat=False), model, device=0))
    trainer.extend(training.extensions.snapshot())
    trainer.run()
training.ParallelUpdater(iterator, optimizer, devices={'main': 0, 'second': 1}).update()
print(updater.iteration, chainer.dataset.concat_examples(data, device=0)[0].shape,
      type(chainer.dataset.to_device(0, np.ones(3))).__name__)
""",
        '4 (8, 3) ndarray',
    ),
    'cupy': (
        """
import cupy
import cupy as cp, cupyx
import cupy.random as random
from cupy import cuda as cupy_cuda
from cupy.cuda import Device, Stream
assert cuda.cupy is cupy is cp and cuda.cupy.cuda is cupy_cuda
xp = cuda.cupy
x = xp.zeros((2, 3), dtype=xp.float32)
print(type(x).__name__, xp.asnumpy(x).shape, xp.get_array_module(x) is np,
      isinstance(x, cupy.ndarray))
cupy.random.seed(0)
first = random.randn(3)
xp.random.seed(0)
print((random.randn(3) == first).all(), random.normal(0, 1, (2,), dtype='f').dtype,
      xp.random.uniform(-1, 1, 3, dtype=xp.float32).dtype)
cupyx.scatter_add(x, (0, 0), 2)
print(x.tolist())
""",
        """ndarray (2, 3) True True\nTrue float32 float32\n[[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]""",
    ),
    'streams and memory': (
        """
import cupy
cupy.cuda.Stream.null.synchronize()
cupy.cuda.runtime.deviceSynchronize()
cupy.cuda.set_allocator(cupy.cuda.MemoryPool().malloc)
cupy.get_default_memory_pool().free_all_blocks()
cuda.memory_pool.free_all_blocks()
start, end = cupy.cuda.Event(), cupy.cuda.Event()
with cupy.cuda.Stream(non_blocking=True) as stream, cupy.cuda.Device(0):
    start.record()
    end.record(stream)
    end.synchronize()
print(cupy.cuda.get_elapsed_time(start, end) >= 0, cupy.cuda.runtime.getDeviceCount(),
      cupy.get_default_memory_pool().used_bytes())
""",
        'True 1 0',
    ),
    'get of others': (
        """
import queue
values = queue.Queue()
values.put(3)
print(values.get(), {'a': 1}.get('a'), {}.get('a', 2))
""",
        '3 1 2',
    ),
}


@pytest.fixture(params=['with CuPy', 'without CuPy'])
def python(request, tmp_path):
    """Options of python by which ``import cupy`` finds what is installed, or nothing."""
    if request.param == 'with CuPy':
        pytest.importorskip('cupy', reason='CuPy is not installed', exc_type=ImportError)
        return {}
    (tmp_path / 'cupy.py').write_text('raise ImportError("no CuPy")\n')
    return {'command': ['scripts/script.py']}


@pytest.mark.parametrize('name', PROGRAMS)
def test_program(run, python, name):
    program, expected = PROGRAMS[name]
    script = run(HEAD + program, before=['--cpu'], python=['-W', 'ignore'], **python)
    assert (script.stdout, script.stderr) == (expected + '\n', '')


@pytest.mark.parametrize(
    'program, message',
    [
        (
            "cuda.elementwise('T x', 'T y', 'y = x', 'copy')(np.ones(3))",
            'a kernel in CUDA C++ needs a GPU',
        ),
        (
            'import cupy; cupy.no_such_name',
            "module 'cupy' has no attribute 'no_such_name' where --cpu puts",
        ),
        (
            'import cupy.no_such_module',
            "module 'cupy' has no attribute 'no_such_module' where --cpu puts",
        ),
        (
            'cuda.cupy.cuda.no_such_name',
            "module 'cupy.cuda' has no attribute 'no_such_name' where --cpu puts",
        ),
    ],
)
def test_what_the_cpu_does_not_have(run, program, message):
    script = run(HEAD + program, before=['--cpu'], python=['-W', 'ignore'])
    assert script.returncode == 1
    assert message in script.stderr.splitlines()[-1]


def test_names_of_numpy_1_are_names_of_cupy_too(run):
    script = run(
        'import cupy\nfrom chainer import cuda\nprint(cupy.float, cuda.cupy.product([2, 3]))',
        before=['--cpu', '--numpy1'],
    )
    assert (script.stdout, script.stderr) == ("<class 'float'> 6\n", '')


def test_libraries_do_not_find_the_stand_in(run, tmp_path):
    (tmp_path / 'site-packages').mkdir()
    (tmp_path / 'site-packages' / 'library.py').write_text("""
import sys
found = 'cupy' in sys.modules
try:
    import cupy
    found = found or 'chainer_lstm' in repr(cupy) or cupy.ndarray is __import__('numpy').ndarray
except ImportError:
    pass
""")
    script = run(
        """
        import sys
        sys.path.append('site-packages')
        import cupy, library
        print(cupy.zeros(1), library.found)
    """,
        before=['--cpu'],
    )
    assert (script.stdout, script.stderr) == ('[0.] False\n', '')


@pytest.mark.slow
def test_numbers_are_those_of_the_cpu(run):
    text = (
        HEAD
        + """
import sys
np.random.seed(0)
model = L.Classifier(chainer.Sequential(L.LSTM(3, 4), L.Linear(4, 2)))
if len(sys.argv) > 1:
    cuda.get_device_from_id(0).use()
    model.to_gpu()
xp = cuda.cupy if len(sys.argv) > 1 else np
loss = model(xp.ones((2, 3), dtype=xp.float32), xp.zeros(2, dtype=xp.int32))
loss.backward()
print(repr(float(cuda.to_cpu(loss.data))), [float(abs(p.grad).sum()) for p in model.params()])
"""
    )
    gpu = run(text, 'gpu', before=['--cpu'], python=['-W', 'ignore'])
    cpu = run(text, python=['-W', 'ignore'])
    assert gpu.stderr == cpu.stderr == ''
    assert gpu.stdout == cpu.stdout
    assert numpy.isfinite(float(gpu.stdout.split()[0]))
