"""Builds the C core; everything else is said in pyproject.toml."""

# Without cffi at hand setuptools would build no extension and report success.
import cffi  # noqa: F401
from setuptools import setup

setup(
    cffi_modules=["csrc/build_ffi.py:ffi"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
