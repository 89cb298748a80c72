"""Check the rules of style that ruff does not know, as a part of ``make lint``.

    python tests/lint/style.py            all files that git tracks
    python tests/lint/style.py FILE ...   some files

CONTRIBUTING.md gives the rules.  One line is printed for each violation, and the exit status is 1.
"""

import ast
import io
import pathlib
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = 'chainer_lstm'
CODE = (PACKAGE, 'examples', 'benchmarks')  # folders whose comments are checked too

MOST_NODES = 65  # of the syntax tree, in a part of a statement
MOST_LINES = 350  # of code in a file of the package, without comments and docstrings
MOST_LINES_OF_FUNCTION = 60  # of its body, without the docstring

# words that hide the subject of a sentence, or make a person of a thing
BANNED = re.compile(
    r'\b(nobody|whoever|in vain|hopeless|begin anew|brought nearer|of ours'
    r'|(?:are|is|than|as|and|to) (?:ours|theirs)|on its own terms|to be had)\b',
    re.IGNORECASE,
)
OPENINGS = re.compile(r'(What|Where|Who|Whoever|Nobody|Whence|Which)\b(?![^.]*\?)')
COMMENT_OF_CPP = re.compile(r'(?:^|\s)(//|/\*)\s?')

_PARTS = {
    (ast.List, 'elts'),
    (ast.Tuple, 'elts'),
    (ast.Set, 'elts'),
    (ast.Dict, 'keys'),
    (ast.Dict, 'values'),
    (ast.Call, 'keywords'),
    (ast.BoolOp, 'values'),
}

Finding = tuple[int, str]


def findings(path: str, text: str) -> Iterator[Finding]:
    """Yield the line and the text of each violation in a file, whose path is relative to ROOT."""
    yield from _words(text)
    kind, in_code = pathlib.PurePath(path).suffix, path.startswith(CODE)
    if kind == '.py':
        tree = ast.parse(text)
        if in_code:
            yield from _openings(_docstrings(tree))
            yield from _openings(_comments(text))
        if path.startswith(PACKAGE):
            yield from _statements(tree)
            yield from _functions(tree)
            yield from _length(tree, text)
    elif kind in ('.cpp', '.hpp', '.cu', '.cuh') and in_code:
        yield from _openings(_comments_of_cpp(text))


def _words(text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), 1):
        found = BANNED.search(line)
        if found:
            yield number, f'name the subject instead of {found[0]!r}'


def _openings(sentences: Iterator[Finding]) -> Iterator[Finding]:
    for number, text in sentences:
        found = OPENINGS.match(text)
        if found:
            yield number, f'begin with the subject or a verb instead of {found[0]!r}'


def _docstrings(tree: ast.Module) -> Iterator[Finding]:
    """Yield the line and the text of each docstring."""
    for node in _docstring_nodes(tree):
        yield node.lineno, node.value.value.lstrip()


def _docstring_nodes(tree: ast.Module) -> Iterator[ast.Expr]:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            yield node.body[0]


def _comments(text: str) -> Iterator[Finding]:
    """Yield the line and the text of each block of comment lines of Python."""
    last = -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] != last + 1:
                yield token.start[0], token.string.lstrip('# ')
            last = token.start[0]


def _comments_of_cpp(text: str) -> Iterator[Finding]:
    """Yield the line and the text of each block of comment lines of C++."""
    last = -1
    for number, line in enumerate(text.splitlines(), 1):
        found = COMMENT_OF_CPP.search(line)
        if found:
            if number != last + 1:
                yield number, line[found.end() :]
            last = number


def _statements(tree: ast.Module) -> Iterator[Finding]:
    """Find statements with too large parts, except tables of a module or class."""
    tables = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef):
            tables |= {each for each in node.body if isinstance(each, ast.Assign | ast.AnnAssign)}
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and not hasattr(node, 'body') and node not in tables:
            size = largest_part(node)
            if size > MOST_NODES:
                message = f'split the statement: expected {MOST_NODES} nodes at most, got {size}'
                yield node.lineno, message


def largest_part(statement: ast.stmt) -> int:
    """Return how many nodes of the syntax tree the largest part of a statement has.

    The entries of a list, tuple, set or dictionary, the keyword arguments of a call and the
    operands of ``and`` and ``or`` are parts: the formatter writes each on a line.
    """
    sizes = []

    def size_of(node: ast.AST) -> int:
        size = 1
        for name, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    found = size_of(child)
                    if (type(node), name) in _PARTS:
                        sizes.append(found)
                        found = 1
                    size += found
        return size

    sizes.append(size_of(statement))
    return max(sizes)


def _functions(tree: ast.Module) -> Iterator[Finding]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = 1 if ast.get_docstring(node) is not None else 0
            body = node.body[first:]
            size = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            if size > MOST_LINES_OF_FUNCTION:
                message = f'split {node.name}: expected {MOST_LINES_OF_FUNCTION} lines at most'
                yield node.lineno, f'{message}, got {size}'


def _length(tree: ast.Module, text: str) -> Iterator[Finding]:
    lines = text.splitlines()
    size = sum(line.strip() != '' and not line.lstrip().startswith('#') for line in lines)
    size -= sum(
        sum(line.strip() != '' for line in lines[node.lineno - 1 : node.end_lineno])
        for node in _docstring_nodes(tree)
    )
    if size > MOST_LINES:
        yield 1, f'split the file: expected {MOST_LINES} lines of code at most, got {size}'


def tracked() -> list[str]:
    """Return the paths of the files that git tracks or could track, relative to ROOT."""
    command = ['git', 'ls-files', '-co', '--exclude-standard']
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for path in listed.stdout.splitlines() if (ROOT / path).is_file()]


def is_checked(path: str) -> bool:
    """Return whether a file has rules: not data, tests or programs as their users wrote them."""
    suffix = pathlib.PurePath(path).suffix
    in_tests = path.startswith('tests/')
    return suffix in ('.py', '.md', '.cpp', '.hpp', '.cu', '.cuh') and not in_tests


def main(paths: list[str]) -> int:
    """Check files, all by default; return the exit status."""
    if paths:
        chosen = [pathlib.Path(path).resolve().relative_to(ROOT).as_posix() for path in paths]
    else:
        chosen = tracked()
    count = 0
    for path in filter(is_checked, chosen):
        for line, message in sorted(findings(path, (ROOT / path).read_text('utf-8'))):
            print(f'{path}:{line}: {message}')
            count += 1
    return int(count > 0)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
