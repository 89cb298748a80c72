"""Import Chainer's modules, and look up the names that they use.

Chainer's source is parsed as chainer_lstm edits it.  Each chain of attributes that starts at an
import, ``numpy.linalg.norm``, or at an array module, ``xp.empty``, is looked up in the modules that
are installed; ``xp`` is NumPy and CuPy.
"""

import ast
import importlib
import importlib.util
import json
import pathlib
import sys
import types
import warnings

from chainer_lstm import compat

PACKAGES = ('chainer', 'chainermn', 'onnx_chainer')
# of Chainer itself; chainerx and ideep4py cannot be installed on today's Python
NOT_LOOKED_UP = (*PACKAGES, 'chainer_lstm', 'chainerx', 'ideep4py', '__future__')
ARRAY_MODULES = {
    'xp': ('numpy', 'cupy'),
    '_xp': ('numpy', 'cupy'),
    'cupy': ('cupy',),
    'cupyx': ('cupyx',),
}

# removed from or deprecated in some supported Python, perhaps not in the one that runs this
GONE_MODULES = {
    'asynchat', 'asyncore', 'cgi', 'cgitb', 'crypt', 'distutils', 'imghdr', 'imp', 'lib2to3',
    'nntplib', 'numpy.distutils', 'pipes', 'pkg_resources', 'smtpd', 'sndhdr', 'telnetlib', 'uu',
    'xdrlib',
}  # fmt: skip
GONE_NAMES = {
    'ast.Bytes', 'ast.Num', 'ast.Str', 'inspect.formatargspec', 'inspect.getargspec',
    'logging.warn', 'pkgutil.find_loader', 'pkgutil.get_loader', 'threading.activeCount',
    'threading.currentThread', 'time.clock', 'typing.io', 'typing.re',
}  # fmt: skip
# methods, of whatever object
GONE_METHODS = {
    'assertEquals', 'assertItemsEqual', 'assertNotEquals', 'assertRaisesRegexp',  # unittest
    'getName', 'isAlive', 'isDaemon', 'notifyAll', 'setDaemon', 'setName',  # threading
    'utcfromtimestamp', 'utcnow',  # datetime
    'itemset', 'newbyteorder', 'ptp', 'tostring',  # numpy.ndarray
    'scatter_add', 'scatter_max', 'scatter_min', 'toDlpack',  # cupy.ndarray
}  # fmt: skip


def sources():
    """Return the paths of Chainer's modules by their names."""
    paths = {}
    for package in PACKAGES:
        folder = pathlib.Path(importlib.util.find_spec(package).submodule_search_locations[0])
        for path in sorted(folder.rglob('*.py')):
            name = '.'.join(path.relative_to(folder.parent).with_suffix('').parts)
            paths[name.removesuffix('.__init__')] = path
    return paths


def imported(tree):
    """Return what each name is that a module imports, and the (name, line) of every import."""
    names, uses = {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition('.')[0]
                names[alias.asname or top] = alias.name if alias.asname else top
                uses.append((alias.name, node.lineno))
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f'{node.module}.{alias.name}'
                uses.append((f'{node.module}.{alias.name}', node.lineno))
    return names, uses


def parts_of(node):
    """Return the parts of a chain of attributes; the first is empty where no name begins it."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return [node.id if isinstance(node, ast.Name) else '', *parts]


def full_names(node, names):
    """Return the full names of a chain of attributes: one, two after ``xp``, or none."""
    parts = parts_of(node)
    for at, part in enumerate(parts[:-1]):
        if part in ARRAY_MODULES and names.get(part) != part:
            return ['.'.join([module, *parts[at + 1 :]]) for module in ARRAY_MODULES[part]]
    if parts[0] in names:
        return ['.'.join([names[parts[0]], *parts[1:]])]
    return []


def chains(tree):
    """Return the longest chains of attributes."""
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    inner = {id(node.value) for node in attributes}
    return [node for node in attributes if id(node) not in inner]


def uses(tree):
    """Return the (name, line) of every name of another package that a module uses."""
    names, found = imported(tree)
    for node in chains(tree):
        found += [(name, node.lineno) for name in full_names(node, names)]
    return [(name, line) for name, line in found if name.partition('.')[0] not in NOT_LOOKED_UP]


def look_up(name):
    """Return what a dotted name stands for: an attribute of a module or class, or a module."""
    first, *rest = name.split('.')
    found, path = importlib.import_module(first), first
    for part in rest:
        if not isinstance(found, (types.ModuleType, type)):
            return found  # an object, whose attributes are unknown before it is made
        path = f'{path}.{part}'
        if not hasattr(found, part) and isinstance(found, types.ModuleType):
            importlib.import_module(path)
        found = getattr(found, part)
    return found


def complaint(name):
    """Return why a name should not be used, or None."""
    gone = GONE_NAMES | GONE_MODULES
    if any(name == known or name.startswith(known + '.') for known in gone):
        return 'removed or deprecated by Python 3.14, NumPy 2 or setuptools 82'
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            found = look_up(name)
    except Exception as error:  # a warning, too
        return f'{type(error).__name__}: {error}'.strip()
    if '.. deprecated::' in (getattr(found, '__doc__', None) or ''):
        return 'its documentation says that it, or an argument, is deprecated'
    return None


def calls(tree, names):
    """Return the (name, line, complaint) of calls with arguments that NumPy 2 does not take."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        for name in full_names(node.func, names):
            if name in ('numpy.maximum', 'numpy.minimum') and len(node.args) > 2:
                yield name, node.lineno, 'out is a positional argument'
            words = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if name == 'numpy.array' and words.get('copy') == 'False':
                yield name, node.lineno, 'copy=False raises where a copy is needed'


def methods(tree):
    """Return the (name, line, complaint) of methods that are gone or deprecated."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in GONE_METHODS:
            yield ast.unparse(node), node.lineno, 'the method is removed or deprecated'


def problems(source, installed=lambda name: True):
    """Return the (name, line, complaint) of what a module uses and should not.

    Args:
        source: the text of the module.
        installed: whether the package of a name is there, so that the name can be looked up.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        tree = ast.parse(source)
        compile(tree, 'source', 'exec')
    found = [('syntax', 0, str(warning.message)) for warning in caught]
    found += [(name, line, complaint(name)) for name, line in uses(tree) if installed(name)]
    found += [*methods(tree), *calls(tree, imported(tree)[0])]
    return [problem for problem in found if problem[2]]


def main(*optional):
    """Print, as JSON, the errors of imports and the problems with names, by module.

    Args:
        optional: packages whose names are not looked up where they are not installed.
    """
    errors, wrong = {}, {}
    missing = [package for package in optional if importlib.util.find_spec(package) is None]
    for module, path in sources().items():
        try:
            importlib.import_module(module)
        except Exception as error:
            errors[module] = f'{type(error).__name__}: {error}'
        source = compat.edited(module, path.read_text(encoding='utf-8'))
        wrong[module] = problems(source, lambda name: name.partition('.')[0] not in missing)
    json.dump({'errors': errors, 'problems': wrong}, sys.stdout)
