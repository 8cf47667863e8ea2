"""Which live patches are on, from lists as they have been seen in the field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpengine.package.model import Version
from lpengine.targets.host.livepatches import (
    applied_in_xen,
    enabled_in_kernel,
    enabled_in_kpatch,
    kernel_span,
    xen_span,
)

HEADING = " ID                                     | status\n"
RULE = "----------------------------------------+------------\n"
NEWER_HEADING = " ID                                     | status     | metadata\n"
NEWER_RULE = "----------------------------------------+------------+---------------\n"
ONE, TWO = "lp_4.13.4-10.22.xs8-4.13.4-10.23.xs8", "lp_4.13.4-10.22-4.13.4-10.24"


@pytest.mark.parametrize(
    ("listing", "applied"),
    [
        ("Nothing to list\n", ()),
        (HEADING + RULE, ()),
        (f"{HEADING}{RULE}{ONE}    | CHECKED\n", ()),
        (f"{HEADING}{RULE}{TWO}    | CHECKED\n{ONE}    | APPLIED\n", (ONE,)),
        (f"{HEADING}{RULE}{ONE}| APPLIED   \n", (ONE,)),
        (f"{HEADING}{RULE}  {ONE}|APPLIED    \n", (ONE,)),
        (f"{NEWER_HEADING}{NEWER_RULE}{ONE}| APPLIED    | a=b;c=d|e\n", (ONE,)),
        (f"{NEWER_HEADING}{NEWER_RULE}{ONE}| CHECKED (-16, Busy)    | \n", ()),
        (f"{HEADING}{RULE}{ONE}| APPLIED\n{TWO}| APPLIED\n", (ONE, TWO)),
    ],
)
def test_applied_payloads_of_xen(listing: str, applied: tuple[str, ...]) -> None:
    assert applied_in_xen(listing) == applied


@pytest.mark.parametrize(
    "listing",
    [
        "",  # it ends well and says nothing where it cannot open the hypervisor
        "failed to get the handler\n",
        f"{HEADING}{RULE}{ONE}  APPLIED\n",
        f"{HEADING}{RULE}{ONE}| unknown\n",
    ],
)
def test_what_is_no_list_of_xens_is_not_known(listing: str) -> None:
    assert applied_in_xen(listing) is None


KERNEL_ONE = "lp_4_19_19__8_0_20_xs8__4_19_19__8_0_21_xs8"
KERNEL_TWO = "lp_4_19_19__8_0_20_xs8__4_19_19__8_0_22_xs8"


@pytest.mark.parametrize(
    ("listing", "enabled"),
    [
        ("", ()),
        (f"{KERNEL_ONE} 1 0\n", (KERNEL_ONE,)),
        (f"{KERNEL_ONE} 0 0\n", ()),
        (f"{KERNEL_ONE} 1 1\n{KERNEL_TWO} 1 0\n", (KERNEL_TWO,)),
        (f"{KERNEL_ONE} yes 0\n", None),
        ("something else\n", None),
    ],
)
def test_patches_of_the_kernel(listing: str, enabled: tuple[str, ...] | None) -> None:
    assert enabled_in_kernel(listing) == enabled


@pytest.mark.parametrize(
    ("listing", "enabled"),
    [
        (f"Loaded patch modules:\n{KERNEL_ONE} [enabled]\n\n", (KERNEL_ONE,)),
        (f"Loaded patch modules:\n{KERNEL_ONE} [disabled]\n\n", ()),
        (f"Loaded patch modules:\n{KERNEL_ONE} [enabling...]\n\n", ()),
        (f"Loaded patch modules:\n{KERNEL_ONE} [disabling...]\n\n", ()),
        # Before 0.9 nothing stood beside the name.
        (f"Loaded patch modules:\n{KERNEL_ONE}\n\n", (KERNEL_ONE,)),
        (
            f"Loaded patch modules:\n{KERNEL_ONE} [disabled]\n{KERNEL_TWO} [enabled]\n"
            f"\nInstalled patch modules:\n{KERNEL_ONE} (4.19.0+1)\n\n"
            "Currently livepatched functions:\n"
            "Module                        Object    Function/Occurrence\n"
            f"{KERNEL_TWO}  vmlinux   do_nanosleep,1\n",
            (KERNEL_TWO,),
        ),
        (f"Installed patch modules:\n{KERNEL_ONE} (4.19.0+1)\n", None),
        ("kpatch: no such thing\n", None),
    ],
)
def test_modules_of_kpatch(listing: str, enabled: tuple[str, ...] | None) -> None:
    assert enabled_in_kpatch(listing) == enabled


def test_names_tell_versions() -> None:
    xen = xen_span(ONE)
    assert xen
    assert (xen.base, xen.to) == (
        Version("4.13.4", "10.22.xs8"),
        Version("4.13.4", "10.23.xs8"),
    )
    kernel = kernel_span(KERNEL_ONE)
    assert kernel
    assert (kernel.base, kernel.to) == (
        Version("4.19.19", "8.0.20.xs8"),
        Version("4.19.19", "8.0.21.xs8"),
    )


@pytest.mark.parametrize(
    "name", ["hello", "lp_4.17-1", "p_1-1-1-2", "lp_1-1-1-2-3", ""]
)
def test_other_names_tell_nothing(name: str) -> None:
    assert xen_span(name) is None
    assert kernel_span(name) is None


@given(st.text())
def test_no_text_breaks_a_reader(text: str) -> None:
    for read in (applied_in_xen, enabled_in_kernel, enabled_in_kpatch):
        assert read(text) is None or isinstance(read(text), tuple)
    xen_span(text)
    kernel_span(text)
