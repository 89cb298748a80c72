"""The checks of style.py on small files with a violation each, and without."""

import textwrap

import pytest

from tests.lint import style

LARGE = f'    x = {" + ".join(["y"] * 40)}\n'
ENTRIES = ', '.join(['y'] * 100)


@pytest.mark.parametrize(
    ('path', 'text', 'expected'),
    [
        ('chainer_lstm/a.py', '# nobody calls it\n', [(1, 'nobody')]),
        ('README.md', 'It waits\nin vain.\n', [(2, 'in vain')]),
        ('README.md', 'as fast as ours\n', [(1, 'as ours')]),
        ('README.md', 'hours, as yours\n', []),
        ('chainer_lstm/a.py', '"""What it does."""\n', [(1, 'What')]),
        ('examples/a.py', 'x = 1\n# Where x is kept.\n', [(2, 'Where')]),
        ('chainer_lstm/a.py', '# the first line\n# Where a sentence goes on\n', []),
        ('chainer_lstm/a.py', '"""Return a number."""\n', []),
        ('chainer_lstm/a.hpp', 'int x;  // Whoever reads it\n', [(1, 'Whoever'), (1, 'Whoever')]),
        ('chainer_lstm/a.cu', '// Computes x.\n', []),
        ('tests/test_a.py', '"""Where it begins."""\n', []),
        ('docs/a.md', '## What is it\n', []),
        ('chainer_lstm/a.py', f'def f(y):\n{LARGE}', [(2, 'split the statement')]),
        ('chainer_lstm/a.py', f'x = f({ENTRIES})\n', []),
        ('chainer_lstm/a.py', f'def f(y):\n    return [{ENTRIES}]\n', [(2, 'split the statement')]),
        ('chainer_lstm/a.py', 'def f():\n' + '    g()\n' * 61, [(1, 'split f')]),
        ('chainer_lstm/a.py', 'def f():\n' + '    g()\n' * 60, []),
        ('chainer_lstm/a.py', 'g()\n' * 351, [(1, 'split the file')]),
        ('chainer_lstm/a.py', 'g()\n' * 350 + '# g\n\n' * 9, []),
        ('tests/test_a.py', 'g()\n' * 351, []),
    ],
)
def test_findings(path, text, expected):
    found = sorted(style.findings(path, text))
    assert [line for line, _ in found] == [line for line, _ in expected]
    assert all(part in message for (_, message), (_, part) in zip(found, expected))


@pytest.mark.parametrize(
    ('statement', 'size'),
    [
        ('x', 3),  # a statement, a name, its context
        ('[x, y, z]', 6),  # a statement, a list, its context, three entries
        ('[x, f(y, z)]', 7),  # the call: itself and three names with contexts
        ('f(a=x + y)', 7),  # the argument: itself, a sum, its operator, two names with contexts
        ('x and y and z', 6),
    ],
)
def test_parts_of_a_statement(statement, size):
    (node,) = style.ast.parse(statement).body
    assert style.largest_part(node) == size


def test_the_command_prints_a_line_for_each_finding(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(style, 'ROOT', tmp_path)
    (tmp_path / 'chainer_lstm').mkdir()
    bad, good = tmp_path / 'chainer_lstm/bad.py', tmp_path / 'chainer_lstm/good.py'
    bad.write_text(
        textwrap.dedent('''\
        """Return.

        Nobody.
        """
    ''')
    )
    good.write_text('x = 1\n')
    assert style.main([str(good)]) == 0
    assert style.main([str(good), str(bad)]) == 1
    expected = "chainer_lstm/bad.py:3: name the subject instead of 'Nobody'\n"
    assert capsys.readouterr().out == expected
