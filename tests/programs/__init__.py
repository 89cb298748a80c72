"""Programs as users of Chainer 1.3 to 7.8 wrote them,
and what each printed with the Chainer of its time.

``v3/seq2seq.py`` is a program, ``v3/seq2seq.txt`` its recorded output under a line of versions.
``test_programs`` runs the programs on this package and compares;
``python -m tests.programs.record`` records anew.
"""
