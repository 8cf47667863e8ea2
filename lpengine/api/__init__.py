"""One function a verb, each a straight line: read, observe, decide, act, show.

Read this room first. `targets` has the verbs that look at a target or act on it,
`machines` those that need an emulated machine, `builds` and `modules` those that
make and show a module: files of their own, so that showing a module does not load
an emulator. Test harnesses call
the same functions through `lpengine`.
"""
