"""Compares what a patch expects at its functions with what is there now."""

from lpengine.loader.refusing import refusal
from lpengine.loader.stack import Loaded, LoadedFunction
from lpengine.machine.base import Machine
from lpengine.patch.model import Expectation, Patch


def check_expectations(machine: Machine, patch: Patch, loaded: Loaded) -> None:
    """Xen 4.17, livepatch_check_expectations: function by function."""
    for record, function in zip(patch.functions, loaded.functions, strict=True):
        if record.expectation.enabled:
            _check(machine, record.expectation, function, patch.name)


def _check(
    machine: Machine, expected: Expectation, function: LoadedFunction, patch: str
) -> None:
    where = f"{patch}: {function.name}"
    if not function.old_address:
        raise refusal(
            "expectation-no-address", f"{where}: bytes are expected at no address"
        )
    if expected.length > len(expected.data):
        raise refusal(
            "expectation-too-long",
            f"{where}: {expected.length} bytes are expected, at most"
            f" {len(expected.data)}",
        )
    if expected.reserved:
        raise refusal(
            "expectation-reserved", f"{where}: reserved bits of its expectation are set"
        )
    if expected.length > function.old_size:
        raise refusal(
            "expectation-beyond-function",
            f"{where}: {expected.length} bytes are expected of {function.old_size}",
        )
    actual = machine.read(function.old_address, expected.length)
    if actual != expected.bytes:
        raise refusal(
            "expectation-mismatch",
            f"{where}: {expected.bytes.hex()} expected, {actual.hex()} is there",
        )
