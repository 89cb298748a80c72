"""What the README shows is run, and what it points to is there."""
import importlib.util
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')
EXAMPLES = [path.read_text(encoding='utf-8') for path in sorted(ROOT.glob('examples/*/README.md'))]
COMMANDS = [command for text in (README, *EXAMPLES)
            for command in re.findall(r'^\$ python examples/(\S+)(.*?)(?:  +#.*)?$', text, re.MULTILINE)]


def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = {}
    for block in re.findall(r'```python\n(.*?)```', README, re.DOTALL):
        exec(block, scope)
    assert scope['h'].shape == (20, 200)
    assert (tmp_path / 'lstm.npz').exists()


@pytest.mark.parametrize(('script', 'line'), COMMANDS)
def test_commands_have_the_options_shown(script, line):
    args = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", line)]
    spec = importlib.util.spec_from_file_location('script', ROOT / 'examples' / script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.parser().parse_args(args)


def test_every_example_has_a_readme_with_a_command():
    assert len(EXAMPLES) == sum(folder.is_dir() for folder in (ROOT / 'examples').iterdir()) == 4
    assert all('$ python examples/' in text for text in EXAMPLES)


@pytest.mark.parametrize('target', re.findall(r'\]\((?!http)([^)#]+)', README))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()


def test_make_targets_of_the_first_screen_exist():
    makefile = (ROOT / 'Makefile').read_text()
    for target in re.findall(r'^\$ make (\w+)', README, re.MULTILINE):
        assert re.search(rf'^{target}:', makefile, re.MULTILINE)
