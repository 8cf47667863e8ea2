"""Every reason for which Linux refuses a live patch, as far as it can be provoked in a
guest: modules that are wrong in one thing, or tried in the wrong surroundings.

`ROWS` are the reasons, from kernel/module/main.c and kernel/livepatch/*.c of 6.1; each
has a case, or says in `NOT_PROVOKED` why it has none.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lpengine.elf import parse_image
from lpengine.elf.btf import Btf
from lpengine.elf.constants import SHT_RELA, SHT_SYMTAB
from tests.kernel_modules import Build

ROWS = {
    # by the module loader
    "already loaded": "EEXIST",
    "name of a built-in": "EINVAL",
    "vermagic": "ENOEXEC",
    "module_layout": "ENOEXEC",
    "symbol without CRC": "EINVAL",
    "symbol with a wrong CRC": "EINVAL",
    "unknown symbol": "ENOENT",
    "not signed, sig_enforce": "EKEYREJECTED",
    "not signed, lockdown": "EPERM",
    "modules_disabled": "EPERM",
    "no capability": "EPERM",
    "no CONFIG_LIVEPATCH": "ENOEXEC",
    "bad ELF": "ENOEXEC",
    "stripped": "ENOEXEC",
    "bad relocation type": "ENOEXEC",
    "relocation overflow": "ENOEXEC",
    "relocation over something": "ENOEXEC",
    "blacklisted": "EPERM",
    "out of memory": "ENOMEM",
    # by the live patch core
    "not marked": "EINVAL",
    "klp symbol": "EINVAL",
    "klp relocation misfiled": "EINVAL",
    "function twice": "EEXIST",
    "old function": "EINVAL",
    "no place for ftrace": "EINVAL",
    "new function without size": "",
    "somebody else's function": "EBUSY",
    "ftrace_enabled": "EBUSY",
    "another transition": "EBUSY",
    "states": "EINVAL",
    "pre_patch": "its own",
    "no objects": "EINVAL",
    # by the module that it patches, when that comes
    "target module": "EINVAL",
    # by nobody
    "not checked": "",
}

NOT_PROVOKED = {
    "no CONFIG_LIVEPATCH": "the distribution builds no such kernel",
    "blacklisted": "a boot parameter; the kernel does not say so afterwards",
    "out of memory": "1.5 GiB of modules do not fit into a guest",
}

# How plan and kernel go together.
FORESEEN = "foreseen"  # the plan refuses for the kernel's reason, with its errno
TOLD = "told"  # only the module's own code decides; the plan says that it may
UNCHECKED = "unchecked"  # the kernel takes it and suffers later; the plan refuses
FINE = "fine"


@dataclass(frozen=True)
class Case:
    """`cause` and `errno` are what is expected; `around` says in what surroundings the
    module is tried (tests/in_linux.py), with `beside`, another module."""

    row: str
    module: bytes
    cause: str
    errno: str
    kind: str = FORESEEN
    around: str = ""
    beside: bytes = b""


FUNCTION = b"cmdline_proc_show"
NAMES, STRUCTURES = ".rodata.klp_names", ".data.klp_patch"
CODE = ".rela.text.cmdline_proc_show"
SHOW = """\
struct seq_file;
void seq_printf(struct seq_file *m, const char *format, ...);
extern char *saved_command_line;

int cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%s patched\\n", saved_command_line);
	return 0;
}
"""
VERSION = """\
int version_proc_show(struct seq_file *m, void *v)
{
	return 0;
}
"""
SLEEP = """\
int common_nsleep(int clock, int flags, const void *time)
{
	return 0;
}
"""
VETO = """\
static int no(struct klp_object *object)
{
	return -19;
}

KLP_PRE_PATCH(no);
"""
# Another user of ftrace's IPMODIFY, as any driver could be one: a kprobe with a
# post_handler. The kernel's layout is filled in from its BTF.
HOOK = """\
int register_kprobe(void *probe);
void unregister_kprobe(void *probe);

static unsigned char probe[%(size)d] __attribute__((aligned(64)));

static void after(void *p, void *regs, unsigned long flags)
{
}

static int on(struct klp_object *object)
{
	*(const char **)(probe + %(symbol_name)d) = "cmdline_proc_show";
	*(void **)(probe + %(post_handler)d) = after;
	return register_kprobe(probe);
}

static void off(struct klp_object *object)
{
	unregister_kprobe(probe);
}

KLP_PRE_PATCH(on);
KLP_POST_UNPATCH(off);
"""
STATUS = """\
long bm_status_read(void *file, void *to, unsigned long count, long long *at)
{
	return 0;
}
"""


def cases(build: Build, btf: Btf, binfmt: Any) -> dict[str, Case]:
    """`build(name, source, *functions, **more)` makes a module; `binfmt` is the file of
    binfmt_misc, which is not loaded."""
    good = build("bad", SHOW, FUNCTION.decode()).read_bytes()
    return {
        "good": Case("not checked", good, "", "", FINE),
        **by_the_loader(good, build),
        **by_the_core(good, build),
        **beside_others(good, build, btf),
        **by_nobody(good),
        **by_the_target(build, binfmt),
    }


def by_the_loader(good: bytes, build: Build) -> dict[str, Case]:
    named = build("workqueue", SHOW, FUNCTION.decode()).read_bytes()
    loaded = build("overlay", SHOW, FUNCTION.decode()).read_bytes()
    versions, names = "__versions", ".strtab"
    return {
        "loaded": Case("already loaded", loaded, "name-in-use", "EEXIST"),
        "built-in": Case("name of a built-in", named, "name-in-use", "EINVAL"),
        "vermagic": Case(
            "vermagic",
            edited(good, ".modinfo", b"SMP preempt", b"SMP PREEMPT"),
            "vermagic-mismatch",
            "ENOEXEC",
        ),
        "layout": Case(
            "module_layout",
            flipped(good, versions, b"module_layout"),
            "module-layout-mismatch",
            "ENOEXEC",
        ),
        "crc": Case(
            "symbol with a wrong CRC",
            flipped(good, versions, b"seq_printf"),
            "symbol-version-mismatch",
            "EINVAL",
        ),
        "no-crc": Case(
            "symbol without CRC",
            edited(good, versions, b"seq_printf", b"seq_prinXX"),
            "symbol-version-missing",
            "EINVAL",
        ),
        "unknown": Case(
            "unknown symbol",
            edited(good, names, b"seq_printf", b"seq_prinXX"),
            "unknown-symbol",
            "ENOENT",
        ),
        "license": Case(
            "unknown symbol",
            edited(good, ".modinfo", b"license=GPL", b"license=BSD"),
            "unknown-symbol",
            "ENOENT",
        ),
        "no-capability": Case(
            "no capability", good, "not-privileged", "EPERM", around="unprivileged"
        ),
        "not-elf": Case("bad ELF", b"\x7fELZ" + good[4:], "not-elf", "ENOEXEC"),
        "cut": Case("bad ELF", good[:-200], "section-headers-corrupt", "ENOEXEC"),
        "stripped": Case("stripped", stripped(good), "no-symbol-table", "ENOEXEC"),
        "relocation-type": Case(
            "bad relocation type",
            retyped(good, CODE, 9),
            "relocation-unsupported",
            "ENOEXEC",
        ),
        "relocation-32": Case(
            "relocation overflow",
            retyped(good, ".rela.init.text", 10),
            "relocation-overflow",
            "ENOEXEC",
        ),
        "relocation-nonzero": Case(
            "relocation over something",
            filled(good, CODE),
            "relocation-target-nonzero",
            "ENOEXEC",
        ),
    }


def by_the_core(good: bytes, build: Build) -> dict[str, Case]:
    def klp(new: bytes, cause: str) -> Case:
        old = b"saved_command_line,0"
        return Case("klp symbol", edited(good, ".strtab", old, new), cause, "EINVAL")

    def function(new: bytes, cause: str, row: str = "old function") -> Case:
        whole = new.ljust(len(FUNCTION) + 1, b"\0")
        module = edited(good, NAMES, FUNCTION + b"\0", whole)
        return Case(row, module, cause, "EINVAL")

    source, other = SHOW + VERSION, "version_proc_show"
    two = build("two", source, FUNCTION.decode(), other).read_bytes()
    veto = build("veto", SHOW + VETO, FUNCTION.decode()).read_bytes()
    return {
        "not-marked": Case(
            "not marked",
            edited(good, ".modinfo", b"livepatch=Y", b"livepatXX=Y"),
            "not-marked-livepatch",
            "EINVAL",
        ),
        "klp-symbol": klp(b"saved_command_linX,0", "klp-symbol-not-found"),
        "klp-position": klp(b"saved_command_line,9", "symbol-position"),
        "klp-ambiguous": klp(b"__func__.2,0".ljust(20, b"\0"), "symbol-ambiguous"),
        "misfiled": Case(
            "klp relocation misfiled",
            edited(good, ".strtab", b"vmlinux.saved", b"nothing.saved"),
            "klp-relocation-misfiled",
            "EINVAL",
        ),
        "function": function(b"cmdline_proc_shoX", "old-function-not-found"),
        "ambiguous": function(b"s_show", "symbol-ambiguous"),
        "position": Case(
            "old function", positioned(good, 2), "symbol-position", "EINVAL"
        ),
        "not-traced": function(
            b"do_syscall_64", "function-not-traced", "no place for ftrace"
        ),
        "init": function(b"start_kernel", "function-not-traced", "no place for ftrace"),
        "twice": Case(
            "function twice",
            edited(two, NAMES, b"version_proc_show", FUNCTION),
            "function-twice",
            "EEXIST",
        ),
        "veto": Case("pre_patch", veto, "hook-veto", "ENODEV", TOLD),
        "no-objects": Case(
            "no objects", without_objects(good), "nothing-to-patch", "EINVAL"
        ),
    }


def beside_others(good: bytes, build: Build, btf: Btf) -> dict[str, Case]:
    name = FUNCTION.decode()

    def stateful(name: str, version: int, **more: Any) -> bytes:
        source = f"{SHOW}KLP_STATE(77, {version});\n"
        return build(name, source, FUNCTION.decode(), **more).read_bytes()

    kprobe = btf.struct("kprobe")
    hook = HOOK % {**kprobe.members, "size": kprobe.size}
    nap = build("nap", SLEEP, "common_nsleep").read_bytes()
    whole = build("whole", SHOW, name, atomic_replace=True).read_bytes()
    return {
        "hooked": Case(
            "somebody else's function",
            good,
            "function-hooked",
            "EBUSY",
            around="below",
            beside=build("hook", hook).read_bytes(),
        ),
        "ftrace-off": Case(
            "ftrace_enabled", good, "tracing-disabled", "EBUSY", around="ftrace-off"
        ),
        "transition": Case(
            "another transition",
            good,
            "busy",
            "EBUSY",
            around="in-transition",
            beside=nap,
        ),
        "older-state": Case(
            "states",
            stateful("low", 1),
            "states-incompatible",
            "EINVAL",
            around="below",
            beside=stateful("high", 2),
        ),
        "unknown-state": Case(
            "states",
            whole,
            "states-incompatible",
            "EINVAL",
            around="below",
            beside=stateful("high", 2),
        ),
    }


def by_nobody(good: bytes) -> dict[str, Case]:
    """The kernel takes all of these."""
    changes = {
        "versions-missing": renamed(good, b"__versions\0", b"__versionX\0"),
        "image-mismatch": edited(good, ".modinfo", b"vermagic=6.1", b"vermagic=6.9"),
        "unwind-missing": renamed(
            renamed(good, b".orc_unwind_ip\0", b".orc_unwinX_ip\0"),
            b".orc_unwind\0",
            b".orc_unwinX\0",
        ),
    }
    found = {
        cause: Case("not checked", module, cause, "", UNCHECKED)
        for cause, module in changes.items()
    }
    unsized = Case(
        "new function without size", unsize(good), "new-function-unsized", "", UNCHECKED
    )
    return {**found, "unsized": unsized}


def by_the_target(build: Build, binfmt: Any) -> dict[str, Case]:
    """The patch itself is taken: the module is not there yet."""
    module = build("misc", STATUS, "bm_status_read", module=binfmt).read_bytes()
    wrong = edited(module, NAMES, b"bm_status_read", b"bm_status_reaX")
    return {
        "target": Case(
            "target module",
            wrong,
            "old-function-not-found",
            "EINVAL",
            around="then",
            beside=Path(binfmt.path).read_bytes(),
        )
    }


# Changes to a module. They keep everything where it is.


def edited(raw: bytes, section: str, old: bytes, new: bytes) -> bytes:
    """Some bytes of a section replaced by as many others."""
    assert len(old) == len(new)
    found = parse_image(raw).section(section)
    assert found is not None
    at = raw.index(old, found.offset, found.offset + found.size)
    return put(raw, at, new)


def put(raw: bytes, at: int, data: bytes) -> bytes:
    return raw[:at] + data + raw[at + len(data) :]


def flipped(raw: bytes, section: str, name: bytes) -> bytes:
    """Another CRC before that name."""
    found = parse_image(raw).section(section)
    assert found is not None
    at = raw.index(name, found.offset) - 8
    return put(raw, at, bytes([raw[at] ^ 1]))


def renamed(raw: bytes, old: bytes, new: bytes) -> bytes:
    """A section with another name."""
    return edited(raw, ".shstrtab", old, new)


def retyped(raw: bytes, table: str, type_: int) -> bytes:
    """The first relocation of a table with another type."""
    found = parse_image(raw).section(table)
    assert found is not None
    return put(raw, found.offset + 8, type_.to_bytes(4, "little"))


def filled(raw: bytes, table: str) -> bytes:
    """Something where the first relocation of a table goes."""
    image = parse_image(raw)
    found = image.section(table)
    assert found is not None
    first = next(iter(image.relocations(found)))
    at = image.sections[found.info].offset + first.offset
    return put(raw, at, b"\1")


def stripped(raw: bytes) -> bytes:
    """The symbol table, and what refers to it, turned into something else."""
    headers = int.from_bytes(raw[40:48], "little")
    for section in parse_image(raw).sections:
        if section.type in (SHT_SYMTAB, SHT_RELA):
            raw = put(raw, headers + 64 * section.index + 4, b"\1\0\0\0")
    return raw


def unsize(raw: bytes) -> bytes:
    """The new function's symbol without a size."""
    image = parse_image(raw)
    table = next(s for s in image.sections if s.type == SHT_SYMTAB)
    (symbol,) = image.symbols.named(FUNCTION.decode())
    return put(raw, table.offset + 24 * symbol.index + 16, bytes(8))


def pointers(raw: bytes) -> dict[int, tuple[int, int]]:
    """Of the live patch structures: offset -> (where it leads in them, where its
    record is in the file)."""
    image = parse_image(raw)
    target = image.section(STRUCTURES)
    assert target is not None
    (table,) = (
        each
        for each in image.sections
        if each.type == SHT_RELA and each.info == target.index
    )
    records = enumerate(image.relocations(table))
    return {
        each.offset: (each.addend, table.offset + 24 * number)
        for number, each in records
    }


def without_objects(raw: bytes) -> bytes:
    """struct klp_patch with no pointer to its objects (its second member)."""
    _, record = pointers(raw)[8]
    return put(raw, record + 8, bytes(4))


def positioned(raw: bytes, position: int) -> bytes:
    """The old function's position: from klp_patch to its first klp_object to its first
    klp_func, of which it is the third member."""
    found = pointers(raw)
    objects, _ = found[8]
    functions, _ = found[objects + 8]
    section = parse_image(raw).section(STRUCTURES)
    assert section is not None
    at = section.offset + functions + 16
    return put(raw, at, position.to_bytes(8, "little"))


def switches(table: dict[str, Case]) -> dict[str, Case]:
    """What an administrator may switch on, in an order in which each still shows."""
    good = table["good"].module
    return {
        "lockdown": Case(
            "not signed, lockdown", good, "locked-down", "EPERM", around="lockdown"
        ),
        "sig-enforce": Case(
            "not signed, sig_enforce",
            good,
            "module-unsigned",
            "EKEYREJECTED",
            around="sig-enforce",
        ),
        "modules-disabled": Case(
            "modules_disabled",
            good,
            "modules-disabled",
            "EPERM",
            around="modules-disabled",
        ),
    }
