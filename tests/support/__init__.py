"""What tests of several folders share; fixtures and options of pytest are in ``conftest.py``."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]
