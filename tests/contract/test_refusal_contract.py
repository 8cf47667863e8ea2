"""Every refusal that the verbs can run into, by its cause and Xen's errno, and that
nothing has changed then."""

from collections.abc import Callable
from functools import partial

import pytest

from lpengine.elf.constants import (
    R_X86_64_32S,
    R_X86_64_64,
    R_X86_64_PC32,
    R_X86_64_PLT32,
)
from lpengine.patch.model import Expectation, HookKind, Patch
from lpengine.patch.xen.refusals import DEFECTS, REFUSALS
from lpengine.patch.xen.spec import (
    AlternativeSpec,
    FunctionSpec,
    HookSpec,
    Place,
    RelocationSpec,
    SymbolSpec,
)
from tests.contract.subject import (
    Subject,
    data_section,
    recording,
    returns,
    zero_section,
)

# A call at the start of the code, filled in by a relocation.
_CALL = b"\xe8" + bytes(4) + b"\xc3" + b"\x90" * 3


def _plain(subject: Subject, name: str = "a", **more: object) -> Patch:
    return subject.payload(name, subject.returning("xen_major_version", 5), **more)


def _calling(subject: Subject, kind: int, symbol: str, addend: int = -4) -> Patch:
    relocation = RelocationSpec(1, kind, symbol, addend)
    return subject.payload(
        "a",
        subject.returning(
            "xen_major_version", 0, code=_CALL, relocations=(relocation,)
        ),
    )


def _altering(subject: Subject, **fields: object) -> Patch:
    """A patch with an alternative in its own code."""
    defaults = {
        "original": Place(".text"),
        "original_size": 5,
        "replacement": b"\xb8\x09\x00\x00\x00",
        "feature": 93,
    }
    alternative = AlternativeSpec(**{**defaults, **fields})  # type: ignore[arg-type]
    return _plain(subject, alternatives=(alternative,))


def _expecting(subject: Subject, data: bytes, **fields: int) -> Patch:
    chosen = {"enabled": True, "length": len(data), "reserved": 0, **fields}
    expectation = Expectation(data=data.ljust(31, b"\0"), **chosen)  # type: ignore[arg-type]
    return subject.payload(
        "a", subject.returning("xen_major_version", 5, expectation=expectation)
    )


# cause -> a payload that is refused at load, on an image that is as shipped.
REFUSED_AT_LOAD: dict[str, tuple[str, Callable[[Subject], Patch]]] = {
    "unknown-symbol": (
        "unknown-symbol",
        lambda subject: _calling(subject, R_X86_64_PLT32, "no_such_function"),
    ),
    "static-by-its-bare-name": (
        "unknown-symbol",
        lambda subject: _calling(subject, R_X86_64_PLT32, "only_here"),
    ),
    "out-of-memory": (
        "out-of-memory",
        lambda subject: _plain(
            subject,
            sections=[zero_section(f".bss.{i}", 2 << 20) for i in range(600)],
        ),
    ),
    "relocation-overflow": (
        "relocation-overflow",
        lambda subject: _calling(subject, R_X86_64_PC32, "memcpy", 1 << 33),
    ),
    "relocation-unsupported": (
        "relocation-unsupported",
        lambda subject: _calling(subject, R_X86_64_32S, "memcpy", 0),
    ),
    "old-function-not-found": (
        "old-function-not-found",
        lambda subject: subject.payload(
            "a", FunctionSpec("no_such_function", 16, returns(1))
        ),
    ),
    "static-function-by-its-bare-name": (
        "old-function-not-found",
        lambda subject: subject.payload("a", FunctionSpec("scale", 16, returns(1))),
    ),
    "function-too-small": (
        "function-too-small",
        lambda subject: subject.payload("a", subject.returning("short_tight", 1)),
    ),
    "function-too-small-for-endbr": (
        "function-too-small",
        lambda subject: subject.payload("a", subject.returning("endbr_eight", 1)),
    ),
    "nop-too-long": (
        "nop-too-long",
        lambda subject: subject.payload("a", subject.blanking("memcpy", 32)),
    ),
    "nop-beyond-function": (
        "nop-beyond-function",
        lambda subject: subject.payload("a", subject.blanking("exact_five", 6)),
    ),
    "wrong-version": (
        "wrong-version",
        lambda subject: subject.payload(
            "a", subject.returning("xen_major_version", 5, version=1)
        ),
    ),
    "old-size-zero": (
        "old-size-zero",
        lambda subject: subject.payload(
            "a", subject.returning("xen_major_version", 5, old_size=0)
        ),
    ),
    "function-out-of-reach": (
        "function-out-of-reach",
        lambda subject: subject.payload(
            "a",
            FunctionSpec(
                "xen_major_version",
                subject.size("xen_major_version"),
                new=Place(".text", 1 << 33),
                new_size=6,
            ),
            subject.returning("xen_minor_version", 5),
        ),
    ),
    "image-build-id": (
        "xen-build-id-mismatch",
        lambda subject: _plain(subject, image_build_id="ab" * 20),
    ),
    "symbol-of-the-image": (
        "duplicate-symbol",
        lambda subject: _plain(
            subject,
            sections=[data_section()],
            symbols=(SymbolSpec("calls", Place(".data"), 8),),
        ),
    ),
    "init-target": (
        "init-target",
        lambda subject: subject.payload("a", subject.returning("boot_setup", 1)),
    ),
    "init-reference": (
        "init-reference",
        lambda subject: _calling(subject, R_X86_64_PLT32, "boot_setup"),
    ),
    "wrong-old-size-smaller": (
        "wrong-old-size",
        lambda subject: subject.payload(
            "a", subject.returning("memcpy", 1, old_size=subject.size("memcpy") - 1)
        ),
    ),
    "wrong-old-size-larger": (
        "wrong-old-size",
        lambda subject: subject.payload(
            "a", subject.returning("exact_five", 1, old_size=6)
        ),
    ),
    "padding-is-not-endless": (
        "wrong-old-size",
        lambda subject: subject.payload(
            "a", subject.returning("short_padded", 1, old_size=17)
        ),
    ),
    "middle-of-a-function": (
        "wrong-old-size",
        lambda subject: subject.payload(
            "a",
            subject.returning(
                "x", 1, old_size=9, old_address=subject.address("memcpy") + 2
            ),
        ),
    ),
    "nowhere": (
        "wrong-old-size",
        lambda subject: subject.payload(
            "a", subject.returning("x", 1, old_size=9, old_address=0x1000)
        ),
    ),
    "data": (
        "wrong-old-size",
        lambda subject: subject.payload("a", subject.returning("event_log", 1)),
    ),
    "nop-partial-instruction": (
        "nop-partial-instruction",
        lambda subject: subject.payload("a", subject.blanking("xen_major_version", 3)),
    ),
    "nop-of-the-endbr-only": (
        "nop-underflow",
        lambda subject: subject.payload("a", subject.blanking("exact_nine", 4)),
    ),
    "nop-of-nothing": (
        "nop-underflow",
        lambda subject: subject.payload("a", subject.blanking("exact_five", 0)),
    ),
    "function-twice": (
        "function-twice",
        lambda subject: subject.payload(
            "a",
            subject.returning("xen_major_version", 5),
            subject.returning(
                "other",
                6,
                old_size=subject.size("xen_major_version"),
                old_address=subject.address("xen_major_version"),
            ),
        ),
    ),
    "alternative-of-an-unknown-feature": (
        "foreign-alternatives",
        lambda subject: _altering(subject, feature=21 * 32),
    ),
    "alternative-too-long": (
        "foreign-alternatives",
        lambda subject: _altering(subject, replacement=b"\x90" * 6),
    ),
    "alternative-of-other-code": (
        "alternative-outside-text",
        lambda subject: _altering(subject, original=Place(".text", 1 << 20)),
    ),
}


@pytest.mark.parametrize("case", sorted(REFUSED_AT_LOAD))
def test_refused_at_load(subject: Subject, case: str) -> None:
    cause, make = REFUSED_AT_LOAD[case]
    errno = REFUSALS[cause].errno if cause in REFUSALS else ""
    assert errno or cause in DEFECTS
    patch = make(subject)
    subject.refused(lambda: subject.load(patch), cause, errno)
    # Nor is it in the way of a sound one.
    sound = _plain(subject)
    subject.load(sound)
    subject.apply(sound)


def test_name_in_use(subject: Subject) -> None:
    subject.load(_plain(subject))
    other = subject.payload("a", subject.returning("xen_minor_version", 5))
    subject.refused(lambda: subject.load(other), "name-in-use", "EEXIST")


def test_build_id_in_use(subject: Subject) -> None:
    subject.load(_plain(subject, build_id="cd" * 20))
    other = _plain(subject, "b", build_id="cd" * 20)
    subject.refused(lambda: subject.load(other), "build-id-in-use", "EEXIST")


def test_symbol_of_another_patch(subject: Subject) -> None:
    def bringing(name: str) -> Patch:
        return _plain(
            subject,
            name,
            sections=[data_section()],
            symbols=(SymbolSpec("brought", Place(".data"), 8, local=True),),
        )

    subject.load(bringing("a"))
    subject.refused(lambda: subject.load(bringing("b")), "duplicate-symbol", "EEXIST")


def test_replacements_may_have_the_same_name(subject: Subject) -> None:
    subject.load(_plain(subject), _plain(subject, "b", build_id="ef" * 20))


@pytest.mark.parametrize("verb", ["apply", "revert", "replace", "unload"])
def test_not_found(subject: Subject, verb: str) -> None:
    patch = _plain(subject)
    subject.refused(lambda: getattr(subject, verb)(patch), "not-found", "ENOENT")


def test_wrong_state(subject: Subject) -> None:
    patch = _plain(subject)
    subject.load(patch)
    subject.refused(lambda: subject.revert(patch), "wrong-state")
    subject.apply(patch)
    subject.refused(lambda: subject.apply(patch), "wrong-state")
    subject.refused(lambda: subject.replace(patch), "wrong-state")
    subject.refused(lambda: subject.unload(patch), "unload-applied", "EINVAL")


def test_depends_mismatch(subject: Subject) -> None:
    patch = _plain(subject, depends="12" * 20)
    subject.load(patch)
    subject.refused(lambda: subject.apply(patch), "depends-mismatch", "EINVAL")
    subject.refused(lambda: subject.replace(patch), "depends-mismatch", "EINVAL")


def test_expectations(subject: Subject) -> None:
    shipped = subject.read(subject.address("xen_major_version"), 6)
    cases = [
        (_expecting(subject, b"\x90\x90"), "expectation-mismatch"),
        (_expecting(subject, shipped, reserved=1), "expectation-reserved"),
        (_expecting(subject, shipped + b"\x90" * 9), "expectation-beyond-function"),
    ]
    for patch, cause in cases:
        subject.load(patch)
        error = subject.refused(
            partial(subject.apply, patch), cause, REFUSALS[cause].errno
        )
        assert "xen_major_version" in error.message
        subject.unload(patch)
    for patch in (
        _expecting(subject, shipped),
        _expecting(subject, b"\x90", enabled=False),
    ):
        subject.load(patch)
        subject.apply(patch)
        subject.revert(patch)
        subject.unload(patch)


@pytest.mark.parametrize(
    "kind",
    [
        HookKind.PREAPPLY,
        HookKind.POSTAPPLY,
        HookKind.PREREVERT,
        HookKind.POSTREVERT,
    ],
)
def test_replace_with_hooks_that_may_say_no(subject: Subject, kind: HookKind) -> None:
    hooked = _plain(subject, hooks=[recording(kind, 1)])
    plain = subject.payload("b", subject.returning("xen_minor_version", 5))
    subject.load(hooked, plain)
    cause, errno = "replace-vetoing-hooks", "EOPNOTSUPP"
    subject.refused(lambda: subject.replace(hooked), cause, errno)
    subject.apply(hooked)
    subject.refused(lambda: subject.replace(plain), cause, errno)


def test_a_static_is_found_by_its_file_and_name(subject: Subject) -> None:
    patch = _calling(subject, R_X86_64_PLT32, "common/twin.c#only_here")
    subject.load(patch)
    subject.apply(patch)
    assert subject.call("xen_major_version", 1) == 42


def test_the_first_of_several_refusals_is_xens(subject: Subject) -> None:
    """A payload with everything wrong, put right bit by bit."""
    wrong = {
        "image_build_id": "ab" * 20,
        "hooks": [HookSpec(HookKind.LOAD, returns(0), symbol="calls")],
    }
    bad_call = RelocationSpec(1, R_X86_64_PLT32, "no_such_function", -4)
    bad_kind = RelocationSpec(1, R_X86_64_32S, "memcpy", 0)
    far = RelocationSpec(1, R_X86_64_64, "memcpy", 0)

    def attempt(cause: str, relocation: RelocationSpec, **fields: object) -> None:
        function = subject.returning(
            "memcpy", 0, code=_CALL, relocations=(relocation,), **fields
        )
        patch = subject.payload("a", function, **wrong)
        subject.refused(lambda: subject.load(patch), cause, REFUSALS[cause].errno)

    attempt("unknown-symbol", bad_call, version=1, old_size=4)
    attempt("relocation-unsupported", bad_kind, version=1, old_size=4)
    attempt("wrong-version", far, version=1, old_size=4)
    attempt("function-too-small", far, old_size=4)
    attempt("xen-build-id-mismatch", far, old_size=5)
    del wrong["image_build_id"]
    attempt("duplicate-symbol", far, old_size=5)


def test_alternatives_are_applied_at_load(subject: Subject) -> None:
    patch = _altering(subject)
    subject.load(patch)
    subject.apply(patch)
    assert subject.call("xen_major_version") == 9


def test_alternatives_of_features_that_are_missing(subject: Subject) -> None:
    plain = _altering(subject, feature=7)
    subject.load(plain)
    subject.apply(plain)
    assert subject.call("xen_major_version") == 5
    subject.revert(plain)
    subject.unload(plain)
    inverted = _altering(subject, feature=7, inverted=True)
    subject.load(inverted)
    subject.apply(inverted)
    assert subject.call("xen_major_version") == 9
