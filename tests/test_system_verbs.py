"""The verbs keep their contract over SSH, on the real hypervisor and the real kernel:
the same clauses as on an emulated machine here."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lpengine.elf.kernel import KernelImage, open_kernel
from lpengine.hosts import lab
from tests.ssh_server import URI, make_client, namespace, serving
from tests.verb_contract import Place, VerbContract, output
from tests.verb_places import emulated, linux, xen

__all__ = ["output"]
pytestmark = pytest.mark.system

SECOND_CPU = "/sys/devices/system/cpu/cpu1/online"
Output = Callable[[], str]


@pytest.fixture(scope="module")
def over_ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """This machine once more, behind an SSH server; its URI."""
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    keys = tmp_path_factory.mktemp("sshd")
    with namespace() as space, serving(space, keys, programs) as options:
        wrapper = make_client(tmp_path_factory.mktemp("bin"), space, options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", str(wrapper), prepend=":")
            yield URI


class TestOverSsh(VerbContract):
    @pytest.fixture
    def place(
        self, over_ssh: str, hv_image: Path, tmp_path: Path, output: Output
    ) -> Place:
        return emulated(tmp_path, hv_image, output, over_ssh)


class TestXen(VerbContract):
    @pytest.fixture
    def place(self, xen_guest: lab.Guest, tmp_path: Path, output: Output) -> Place:
        symbols = lab.stocked("xen").symbols
        assert symbols is not None
        return xen(xen_guest, symbols, tmp_path, output)


@pytest.fixture(scope="module")
def kernel() -> KernelImage:
    return open_kernel(lab.stocked("linux").kernel)


@pytest.fixture(scope="module")
def one_cpu(linux_guest: lab.Guest) -> Iterator[lab.Guest]:
    """With one CPU every other task is off it, and switched at the first look; with
    more the kernel looks again only a second later."""
    linux_guest.run(["sh", "-c", f"echo 0 >{SECOND_CPU}"])
    yield linux_guest
    linux_guest.run(["sh", "-c", f"echo 1 >{SECOND_CPU}"])


class TestLinux(VerbContract):
    @pytest.fixture
    def place(
        self, one_cpu: lab.Guest, kernel: KernelImage, tmp_path: Path, output: Output
    ) -> Place:
        return linux(one_cpu, kernel, tmp_path, output)
