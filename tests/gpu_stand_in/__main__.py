"""Runs a script with its arguments on the stand-in: ``python -m tests.gpu_stand_in SCRIPT …``."""

import runpy
import sys

from tests.gpu_stand_in import stand_in

stand_in.install()
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name='__main__')
