"""The doctor: examines a machine, an image or an environment, and says what will fail there and what helps.

`patient` runs where the fault is: standard library only, Python 3.8 and later, bundled into the one file
`doctor.py` by `builder.render.doctor`. `versions` and `combinations` are bundled with it. `host` runs that
file somewhere else, and `command` is `cuvee doctor`.
"""
