"""The rules of the house: who imports whom, whose names are private, where a cell is named."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'chainer_lstm'

# part -> the parts that it may import, the lowest first; a part is a folder or a module at the top
MAY_IMPORT = {
    'arrays': (),
    'files': (),
    'cells': ('arrays',),
    'kernels': ('arrays', 'cells', 'files'),
    'chainer_private': (),
    'initializers': ('chainer_private',),
    'functions': ('arrays', 'cells', 'kernels', 'chainer_private'),
    'links': ('cells', 'kernels', 'chainer_private', 'initializers', 'functions'),
    'optimizers': ('arrays', 'kernels', 'chainer_private', 'functions'),
    'gpu': ('chainer_private',),
    'command_line': (),
    'models': ('arrays', 'chainer_private', 'functions', 'links'),
    'datasets': ('files', 'functions'),
    'training': (
        *('arrays', 'kernels', 'chainer_private', 'functions', 'optimizers', 'models', 'datasets'),
        *('gpu', 'command_line', 'files'),
    ),
    # edits Chainer's modules; compat.v1 replaces names in the package's modules too
    'compat': ('arrays', 'chainer_private', 'functions'),
    'interop': ('cells', 'kernels', 'functions', 'links', 'compat'),
    'installation': ('functions', 'links', 'optimizers', 'compat'),
    'configuration': ('__init__', 'kernels', 'functions', 'gpu'),
    'script': ('__init__', 'kernels', 'chainer_private', 'compat', 'command_line'),
    '__init__': ('compat',),
    '__main__': ('script',),
}

# parts that know nothing of Chainer
WITHOUT_CHAINER = ('arrays', 'cells', 'files', 'kernels')

# (importer, imported) of imports inside of functions, which would be cycles at the top; why
HIDDEN_CYCLES: dict[tuple[str, str], str] = {}

# (part, private name of another module) -> why; a named tuple's own methods are public
PRIVATE = {
    ('compat', '_getframe'): "Python's, documented",
    ('functions', '_getframe'): "Python's, documented",
    ('script', '_getframe'): "Python's, documented",
    ('compat', '_default_context'): "Python's: the context that multiprocessing copies by default",
    ('compat', '_comm'): 'of the loop that an edit of MultiprocessIterator hands over',
    ('compat', '_integer_types'): "Chainer's, replaced",
    ('compat', '_call_converter'): "Chainer's, replaced",
    ('compat', '_statemachine'): "Chainer's, replaced",
    ('kernels', '_core'): "CuPy's: the only way to its precision of products",
    ('kernels', '_routines_linalg'): 'as above',
    ('kernels', '_get_seed'): "CuPy's: the position of its random generator that the host knows",
}
NAMED_TUPLE = {'_replace', '_make', '_asdict', '_fields'}

# the files that may name a cell other than the LSTM; OPTIONS are what offers it by an option
OPTIONS = {'links/options.py', 'links/sequence_lstm.py', 'links/n_step_lstm.py'}
PEEPHOLE = OPTIONS | {
    'cells/peephole.py',
    'cells/lstm_variant.py',
    'cells/peephole.cuh',
    'cells/__init__.py',
    'kernels/native/registry.hpp',
    'links/peephole.py',
    'links/__init__.py',
    'functions/lstm.py',
    'functions/__init__.py',
    'interop/layers.py',
}
VARIANT = OPTIONS | {
    'cells/lstm_variant.py',
    'cells/lstm_variant.cuh',
    'cells/__init__.py',
    'kernels/native/registry.hpp',
    'links/zoneout.py',
    'interop/layers.py',
}

LAYER_NORM = {
    'cells/normalization.py',
    'cells/lstm_variant.py',
    'cells/__init__.py',
    'kernels/native/registry.hpp',
    'links/sequence_lstm.py',
}

# the files that may name the LSTMs over trees
TREES_LSTM = {
    'cells/tree.py',
    'functions/tree_lstm.py',
    'functions/trees.py',
    'functions/__init__.py',
    'links/trees.py',
    'links/__init__.py',
    'installation.py',
    'compat/moved.py',  # the names that they had in Chainer
}


def modules(root):
    """Return the tree of each module by its name in the package; '' is the package itself."""
    found = {}
    for file in sorted(root.rglob('*.py')):
        name = '.'.join(file.relative_to(root).with_suffix('').parts)
        found[name.removesuffix('__init__').removesuffix('.')] = ast.parse(file.read_text())
    return found


def imports(node, hidden=False):
    """Yield (module, names, hidden) of each import in a tree; hidden: only made in a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, (), hidden) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, 'imports are absolute'
            yield child.module, tuple(alias.name for alias in child.names), hidden
        elif not (isinstance(child, ast.If) and 'TYPE_CHECKING' in ast.unparse(child.test)):
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from imports(child, hidden or inside)


def edges(trees):
    """Yield (importer, imported, hidden) of the modules of the package."""
    for importer, tree in trees.items():
        for module, names, hidden in imports(tree):
            root, _, inside = module.partition('.')
            if root != 'chainer_lstm':
                continue
            paths = [f'{inside}.{name}'.strip('.') for name in names]
            for imported in {path if path in trees else inside for path in paths} or {inside}:
                yield importer, imported, hidden


def part(module):
    return module.partition('.')[0] or '__init__'


def upward(trees):
    return sorted(
        f'{importer or "__init__"} imports {imported or "__init__"}'
        for importer, imported, _ in edges(trees)
        if part(imported) not in (part(importer), *MAY_IMPORT[part(importer)])
    )


def cycles(pairs):
    """Return the pairs (importer, imported) that are part of a cycle."""
    targets = {}
    for importer, imported in pairs:
        targets.setdefault(importer, set()).add(imported)

    def reaches(start, goal):
        seen, todo = set(), [start]
        while todo:
            module = todo.pop()
            if module == goal:
                return True
            if module not in seen:
                seen.add(module)
                todo += targets.get(module, ())
        return False

    return {(importer, imported) for importer, imported in pairs if reaches(imported, importer)}


def defined(tree):
    """Return the private names that a module defines, for itself or for its objects."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ('self', 'cls'):
                names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def is_private(name):
    return re.match('_(?!_)', name) is not None and name not in NAMED_TUPLE


def private_of_others(tree):
    """Return the private names of other modules that a module uses.

    What a class inherits is its own: ``self._x``, ``cls._x`` and ``super()._x`` are left out.
    """
    own, found = defined(tree), set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and is_private(node.attr)
            and ast.unparse(node.value) not in ('self', 'cls', 'super()')
        ):
            found.add(node.attr)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ('getattr', 'setattr'):
            found.update(
                argument.value
                for argument in node.args[1:2]
                if isinstance(argument, ast.Constant) and is_private(argument.value)
            )
    for module, names, _ in imports(tree):
        found.update(name for name in (*module.split('.'), *names) if is_private(name))
    return found - own


TREES = modules(PACKAGE)


def test_every_part_has_its_place():
    assert {part(module) for module in TREES} == MAY_IMPORT.keys()
    order = list(MAY_IMPORT)
    above = [
        f'{name} before {lower}'
        for name, may in MAY_IMPORT.items()
        for lower in may
        if order.index(lower) > order.index(name) and lower != '__init__'
    ]
    assert not above


def test_imports_go_down():
    assert upward(TREES) == []


@pytest.mark.parametrize('name', WITHOUT_CHAINER)
def test_parts_without_chainer(name):
    found = {
        f'{module} imports {imported}'
        for module, tree in TREES.items()
        if part(module) == name
        for imported, _, _ in imports(tree)
        if imported.partition('.')[0] == 'chainer'
    }
    assert not found


def test_no_cycle_of_modules():
    assert cycles([(a, b) for a, b, hidden in edges(TREES) if not hidden]) == set()


def test_no_cycle_hidden_in_functions():
    at_the_top = {(a, b) for a, b, hidden in edges(TREES) if not hidden}
    hidden = {(a, b) for a, b, hidden in edges(TREES) if hidden}
    assert cycles([*at_the_top, *hidden]) - at_the_top == HIDDEN_CYCLES.keys()


def test_private_names_stay_in_their_modules():
    found = {
        (part(module), name)
        for module, tree in TREES.items()
        if module != 'chainer_private'
        for name in private_of_others(tree)
    }
    assert found == PRIVATE.keys()


@pytest.mark.parametrize(
    ('name', 'files', 'most'),
    [('peephole', PEEPHOLE, 13), ('lstm_?variant', VARIANT, 9), ('layer_?norm', LAYER_NORM, 5)],
)
def test_files_that_name_a_cell(name, files, most):
    found = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob('*')
        if file.suffix in ('.py', '.cu', '.cuh', '.cpp', '.hpp')
        and re.search(name, file.read_text().lower())
    }
    assert len(files) <= most
    assert found <= files


def test_files_that_name_the_tree_lstms():
    found = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob('*')
        if file.suffix in ('.py', '.cu', '.cuh', '.cpp', '.hpp')
        and re.search(r'tree_?lstm|\bslstm\b', file.read_text().lower())
    }
    assert found <= TREES_LSTM


@pytest.mark.parametrize(
    ('sources', 'expected'),
    [
        ({'links.a': 'from chainer_lstm import functions'}, []),
        ({'kernels.a': 'from chainer_lstm import links'}, ['kernels.a imports links']),
        ({'cells.a': 'def f():\n import chainer_lstm.kernels'}, ['cells.a imports kernels']),
        ({'cells.a': 'from chainer_lstm.links.b import c'}, ['cells.a imports links.b']),
    ],
)
def test_upward_imports_are_found(sources, expected):
    trees = {name: ast.parse(text) for name, text in sources.items()}
    trees |= {name: ast.parse('') for name in ('functions', 'links')}
    assert upward(trees) == expected


def test_cycles_are_found():
    pairs = [('a', 'b'), ('b', 'c'), ('c', 'a'), ('d', 'a')]
    assert cycles(pairs) == set(pairs[:3])


@pytest.mark.parametrize(
    ('source', 'expected'),
    [
        ('self._x, cls._x, super()._x', set()),
        ('other._x', {'_x'}),
        ('self.other._x', {'_x'}),
        ('other.__x__', set()),
        ('state._replace(c=1)', set()),
        ('class A:\n def _x(self, other): return other._x()', set()),
        ('def f(self, other):\n self._x = other._x', set()),
        ('def f(other):\n other._x = 1', {'_x'}),
        ("getattr(other, '_x', None)", {'_x'}),
        ('from chainer import _backprop', {'_backprop'}),
        ('import chainer._backprop', {'_backprop'}),
    ],
)
def test_private_names_are_found(source, expected):
    assert private_of_others(ast.parse(source)) == expected


def test_tests_import_no_tests():
    """What several of them need is a module of its own: conftest and test modules are pytest's."""
    found = {
        f'{importer} imports {module}'
        for importer, tree in modules(ROOT / 'tests').items()
        for module, names, _ in imports(tree)
        if module.partition('.')[0] == 'tests'
        and any(re.match('test_|conftest', part) for part in (*module.split('.'), *names))
    }
    assert not found
