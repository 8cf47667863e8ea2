"""Requests as the hypervisor sees them, and what becomes of its answers."""

import errno

import pytest

from lpengine.core.hypercall import Action, Hypervisor, Listed, Privcmd, Progress
from lpengine.errors import UsageError
from tests.fake_xen import FakeXen, Payload


@pytest.mark.parametrize("version", [0x15, 0x16, 0x1F])
def test_the_interface_version_is_found_by_trying(version: int) -> None:
    assert Hypervisor(FakeXen(interface=version)).interface == version


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_another_refusal_ends_the_search(number: int) -> None:
    with pytest.raises(OSError, match="the fake says no") as caught:
        Hypervisor(FakeXen(everything=number)).payloads()
    assert caught.value.errno == number


def test_no_version_at_all() -> None:
    with pytest.raises(PermissionError):
        Hypervisor(FakeXen(interface=0x99)).payloads()


def many(count: int) -> list[Payload]:
    return [
        Payload(f"p{n}" + "x" * (n % 100), b"", b"k=%d\0" % n * (n % 5), bool(n % 2))
        for n in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
@pytest.mark.parametrize("at_once", [1024, 7])
def test_any_number_of_payloads_is_listed(count: int, at_once: int) -> None:
    fake = FakeXen(at_once=at_once, loaded=many(count))
    assert Hypervisor(fake).payloads() == tuple(
        Listed(one.name, one.applied, 0, one.metadata) for one in fake.loaded
    )


def test_a_list_that_changes_meanwhile_is_asked_for_again() -> None:
    fake = FakeXen(at_once=1, loaded=many(3))
    calls = []

    def change() -> None:
        calls.append(1)
        if len(calls) == 4:
            fake.add(Payload("late", b"", b""))

    fake.on_list = change
    xen = Hypervisor(fake)
    assert [one.name for one in xen.payloads()][-1] == "late"
    fake.on_list = lambda: fake.add(Payload("more", b"", b""))
    with pytest.raises(BlockingIOError, match="keeps changing"):
        xen.payloads()


def test_get_and_act() -> None:
    fake = FakeXen(loaded=many(2))
    xen = Hypervisor(fake)
    fake.loaded[0].polls = 1
    assert xen.get("p0") == Progress(False, errno.EAGAIN)
    assert xen.get("p0") == Progress(False, 0)
    xen.act("p0", Action.UNLOAD)
    assert fake.actions == [("p0", 1, 0)]
    with pytest.raises(FileNotFoundError):
        xen.get("p0")


@pytest.mark.parametrize("name", ["", "x" * 128, "a\0b", "ü" * 64])
def test_what_is_no_name(name: str) -> None:
    xen = Hypervisor(FakeXen())
    with pytest.raises(UsageError, match="hypervisor"):
        xen.get(name)
    with pytest.raises(UsageError, match="hypervisor"):
        xen.upload(name, b"x")


def test_a_timeout_has_32_bits() -> None:
    with pytest.raises(UsageError, match="32 bits"):
        Hypervisor(FakeXen()).act("a", Action.APPLY, 1 << 32)


def test_the_console_goes_on_where_it_was_left() -> None:
    fake = FakeXen(console=b"old\n")
    xen = Hypervisor(fake)
    text, index = xen.console()
    assert text == b"old\n"
    fake.console += b"new\n"
    assert xen.console(index) == (b"new\n", 8)


def test_the_build_id() -> None:
    assert Hypervisor(FakeXen(build_id="0123" * 10)).build_id() == "0123" * 10


def test_no_device(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        Privcmd(str(tmp_path / "privcmd"))
    with pytest.raises(OSError, match="hypercall"):
        Privcmd("/dev/null", str(tmp_path / "hypercall"))
    device = Privcmd("/dev/null", "/dev/null")
    with pytest.raises(OSError, match="ioctl"):
        device.call(35, (0,))
    device.close()
