"""The probe: what runs inside an image, a virtual environment or a Colab VM, and prints JSON.

It needs the standard library only and runs on Python 3.8, since it judges environments that it does not
choose. The folder is copied as a whole and run as `python -I FOLDER COMMAND`; see `cli` for the commands.

Whatever may abort runs in a child process (`child`), which only acts and reports facts; the judging is done
by pure functions in the parent.
"""
