"""Damaged files given to the scripts: one line that names the file, status 2."""

import io

import numpy
import pytest

from tests.support.examples import flipped

SMALL = ['--unit', '8', '--bproplen', '5', '--batchsize', '4', '--epoch', '1', '--test']


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder with a text, and what a run on it left, as bytes."""
    from tests.support.examples import load

    folder = tmp_path_factory.mktemp('trained')
    for part in ('train', 'valid', 'test'):
        (folder / f'{part}.txt').write_text('the dog sees a cat\n' * 20)
    module = load('ptb/train_ptb.py')
    module.run(module.parser().parse_args(['--data', str(folder), '--out', str(folder), *SMALL]))
    (snapshot,) = folder.glob('snapshot_iter_*')
    return folder, {'model': (folder / 'model.npz').read_bytes(), 'snapshot': snapshot.read_bytes()}


def saved(save, *args, **kwargs):
    file = io.BytesIO()
    save(file, *args, **kwargs)
    return file.getvalue()


DAMAGES = {
    'empty': lambda content: b'',
    'cut in the middle': lambda content: content[: len(content) // 2],
    'cut at the end': lambda content: content[:-1],
    'one byte is wrong': flipped,
    'no npz': lambda content: b'a text, not weights\n' * 99,
    'an npy': lambda content: saved(numpy.save, numpy.zeros(3)),
    'an npz of something else': lambda content: saved(numpy.savez, x=numpy.zeros(3)),
    'an npz of nothing': lambda content: saved(numpy.savez),
    'objects': lambda content: saved(numpy.savez, **{'embed/W': numpy.array([{}], object)}),
}


@pytest.mark.parametrize('damage', DAMAGES)
@pytest.mark.parametrize(
    ('script', 'kind', 'option'),
    [
        ('ptb/train_ptb.py', 'snapshot', '--resume'),
        ('ptb/gentxt.py', 'model', '-m'),
    ],
)
def test_damaged_file(run, trained, tmp_path, script, kind, option, damage):
    folder, contents = trained
    path = tmp_path / f'{kind}.npz'
    path.write_bytes(DAMAGES[damage](contents[kind]))
    options = ['--data', folder, '--out', tmp_path, *SMALL] if kind == 'snapshot' else []
    status, _, complained = run(script, option, path, *options)
    assert status == 2
    assert complained.startswith(f'{script[4:]}: error: expected ')
    assert str(path) in complained
    assert complained.count('\n') == 1
    assert not (tmp_path / 'model.npz').exists() or kind == 'model'


@pytest.mark.parametrize(
    ('script', 'option'), [('ptb/train_ptb.py', '--resume'), ('ptb/gentxt.py', '-m')]
)
def test_a_folder_for_a_file(run, trained, tmp_path, script, option):
    options = (
        ['--data', trained[0], '--out', tmp_path / 'out', *SMALL] if option == '--resume' else []
    )
    status, _, complained = run(script, option, tmp_path, *options)
    assert status == 2
    assert complained == f"{script[4:]}: error: [Errno 21] Is a directory: '{tmp_path}'\n"


def test_results_in_the_place_of_a_file(run, trained, tmp_path):
    (tmp_path / 'out').write_text('a file')
    status, _, complained = run(
        'ptb/train_ptb.py', '--data', trained[0], '--out', tmp_path / 'out', *SMALL
    )
    assert status == 2
    assert complained == f"train_ptb.py: error: [Errno 17] File exists: '{tmp_path / 'out'}'\n"
