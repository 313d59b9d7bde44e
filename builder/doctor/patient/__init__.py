"""The patient's side of the doctor: it looks, judges and tells, with Python 3.8's standard library alone.

It runs in places that it did not choose and that may be broken, as a program, from standard input or pasted
into a notebook. So it imports nothing of the environment that it examines, starts a child process for
whatever may abort or hang, and takes every look for one that may fail.

`examining` gathers an `Examination`; `judging` makes `Finding`s of it, and `advising` names a row; both are
pure. `telling` prints them.
"""
