"""How `make docs` builds these pages; docs/reference is made of the docstrings, and the programs
in docs/gallery are run.
"""

import logging
import os
import pathlib
import sys

import chainer_lstm

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import pictures

project = 'chainer-lstm'
release = chainer_lstm.__version__

extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx_design']
myst_enable_extensions = ['colon_fence']
myst_heading_anchors = 3

nb_execution_mode = 'force'
nb_execution_show_tb = True
nb_execution_timeout = 150
nb_merge_streams = True
logging.getLogger('traitlets').setLevel(logging.WARNING)  # of what executes them
# `!python` in a page is the Python that builds it, with the package that is documented
os.environ['PATH'] = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ['PATH']])
os.environ['PYTHONPATH'] = str(pathlib.Path(__file__).parents[1])
toc_object_entries_show_parents = 'hide'
highlight_language = 'none'  # blocks of docstrings are equations
html_theme = 'furo'
pygments_dark_style = 'github-dark'
html_title = f'{project} {release}'
html_static_path = ['_static']
html_css_files = ['pages.css']
html_copy_source = html_show_copyright = False

autodoc_default_options = {'members': True, 'inherited-members': True}
autodoc_inherit_docstrings = False
autodoc_member_order = 'bysource'
autodoc_preserve_defaults = True
autodoc_typehints = 'none'  # the docstrings give shapes and dtypes, which say more
napoleon_custom_sections = [('Attributes', 'params_style')]
napoleon_numpy_docstring = False
napoleon_use_param = False

# what is named must be there, but for names of other libraries, whose pages are not ours
nitpicky = True
nitpick_ignore_regex = [('py:.*', r'(chainer|numpy)\..*')]


def _skips(app, what, name, member, skip, options):
    """Leaves out what is inherited from Chainer and from tuple,
    and what the pages name themselves.
    """
    for wrapped in ('fget', 'func', '__func__'):  # of a property, a cached one, a class method
        member = getattr(member, wrapped, member)
    return (
        skip
        or what == 'module'
        or not str(getattr(member, '__module__', '')).startswith('chainer_lstm')
    )


def setup(app):
    pictures.write()
    app.connect('autodoc-skip-member', _skips)
