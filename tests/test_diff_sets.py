"""Several objects that become one patch: what only shows when all are looked at."""

import subprocess
from pathlib import Path

import pytest

from lpengine.diff.changes import Changes, System, Verdict
from lpengine.diff.differ import Options
from lpengine.diff.pairing import pair_files, unpaired
from lpengine.diff.sets import diff_files
from lpengine.elf import open_image
from lpengine.errors import NotFoundError
from tests.diff_cases import FLAGS

HEADER = """
static inline __attribute__((always_inline)) int limited(int value)
{
	return value > 10 ? 10 : value;
}
static inline __attribute__((always_inline)) int doubled(int value)
{
	return value * 2;
}
"""
ONE = '#include "limit.h"\nint one(int value) { return limited(value) * 3 + value; }\n'
TWO = '#include "limit.h"\nint two(int value) { return limited(value) - value * 5; }\n'
THREE = '#include "limit.h"\nint three(int value) { return doubled(value) + value; }\n'


def build(directory: Path, sources: dict[str, str], *flags: str) -> Path:
    directory.mkdir(parents=True)
    for name, text in sources.items():
        path = directory / name
        path.write_text(text)
        if name.endswith(".c"):
            command = ["gcc", *FLAGS, *flags, "-c", name, "-o", f"{path.stem}.o"]
            subprocess.run(command, cwd=directory, check=True, timeout=60)
    return directory


def compare(before: Path, after: Path, options: Options | None = None) -> Changes:
    others = [open_image(path) for path in unpaired(before, after)]
    return diff_files(pair_files(before, after), options, others)


@pytest.fixture
def header_fix(tmp_path: Path) -> tuple[Path, Path]:
    """A fix in an inline function that two of three objects use."""
    sources = {"limit.h": HEADER, "one.c": ONE, "two.c": TWO, "three.c": THREE}
    before = build(tmp_path / "before", sources, "-g")
    sources["limit.h"] = HEADER.replace("> 10 ? 10", "> 12 ? 12")
    return before, build(tmp_path / "after", sources, "-g")


def test_a_header_shows_its_fan_out(header_fix: tuple[Path, Path]) -> None:
    changes = compare(*header_fix)
    assert changes.verdict is Verdict.CHANGED
    assert [o.name for o in changes.changed] == ["one.o", "two.o"]
    (fan,) = changes.fan_out
    assert fan.function == "limited"
    assert fan.header.endswith("limit.h")
    assert set(fan.objects) == {"one.o", "two.o"}
    assert fan.missing == ()


def test_an_original_that_does_not_tell_shows_none(tmp_path: Path) -> None:
    """Without debug information nobody knows where its copies are."""
    sources = {"limit.h": HEADER, "one.c": ONE, "two.c": TWO}
    before = build(tmp_path / "before", sources)
    sources["limit.h"] = HEADER.replace("> 10 ? 10", "> 12 ? 12")
    changes = compare(before, build(tmp_path / "after", sources, "-g"))
    assert [o.name for o in changes.changed] == ["one.o", "two.o"]
    assert changes.fan_out == ()


def test_a_copy_that_was_not_rebuilt_is_refused(header_fix: tuple[Path, Path]) -> None:
    before, after = header_fix
    (after / "two.o").unlink()
    changes = compare(before, after)
    assert changes.verdict is Verdict.REFUSED
    (refusal,) = changes.refusals
    assert refusal.code == "LP-CHG-905"
    assert refusal.subject == "limited"
    assert "two.o" in refusal.evidence
    assert "three.o" not in refusal.evidence


def test_a_stale_copy_is_refused(header_fix: tuple[Path, Path]) -> None:
    before, after = header_fix
    (after / "two.o").write_bytes((before / "two.o").read_bytes())
    assert [r.code for r in compare(before, after).refusals] == ["LP-CHG-905"]


MEMBER = """
struct pair { int first, second; };
static inline __attribute__((always_inline)) int chosen(const struct pair *pair)
{
	return pair->first > 7 ? 7 : 1;
}
"""
USER = '#include "pair.h"\nint use_%s(struct pair *p) { return chosen(p) * %d; }\n'


def test_a_copy_with_another_address_is_stale(tmp_path: Path) -> None:
    users = {"one.c": USER % ("one", 3), "two.c": USER % ("two", 5)}
    before = build(tmp_path / "before", {"pair.h": MEMBER, **users}, "-g")
    fixed = MEMBER.replace("->first", "->second")
    after = build(tmp_path / "after", {"pair.h": fixed, **users}, "-g")
    (after / "two.o").write_bytes((before / "two.o").read_bytes())
    assert [r.code for r in compare(before, after).refusals] == ["LP-CHG-905"]


LOCK = """
static inline __attribute__((always_inline)) void take(int *lock)
{
	while (__sync_lock_test_and_set(lock, 1))
		__builtin_ia32_pause();
}
"""
GUARDED = """#include "lock.h"
int lock, ready;
int work(int value);
int guarded(int value) { %s return value * 3; }
"""
EARLY = "if (!ready) return -1; take(&lock); value = work(value);"
LATE = "take(&lock); if (!ready) return -1; value = work(value);"
OTHER = '#include "lock.h"\nint one;\nint other(void) { take(&one); return one; }\n'


def test_code_of_a_header_that_only_moved_is_in_no_other_object(
    tmp_path: Path,
) -> None:
    """The lock is taken before the check instead of behind it, and is the first thing
    that differs."""
    sources = {"lock.h": LOCK, "guarded.c": GUARDED % EARLY, "other.c": OTHER}
    before = build(tmp_path / "before", sources, "-g")
    sources["guarded.c"] = GUARDED % LATE
    after = build(tmp_path / "after", sources, "-g")
    (after / "other.o").write_bytes((before / "other.o").read_bytes())
    changes = compare(before, after)
    assert changes.refusals == ()
    assert changes.fan_out == ()
    assert [each.name for each in changes.changed] == ["guarded.o"]


CALLEE = "int total;\nint count(int by) { return total += by * 3; }\n"
CALLER = "int count(int by);\nint use(int by) { return count(by) * 5 + by; }\n"
STRANGER = "int count(int by);\nint other(int by) { return count(by) * 7 + by; }\n"
NEW_CALLEE = CALLEE.replace("(int by)", "(int by, int more)").replace("by *", "more *")
NEW_CALLER = CALLER.replace("count(int by)", "count(int by, int more)").replace(
    "count(by)", "count(by, by + 1)"
)


@pytest.mark.parametrize(
    ("with_stranger", "verdict"), [(False, "changed"), (True, "refused")]
)
def test_a_prototype_changes_with_all_its_callers(
    with_stranger: bool, verdict: str, tmp_path: Path
) -> None:
    strange = {"stranger.c": STRANGER} if with_stranger else {}
    before = build(
        tmp_path / "before", {"callee.c": CALLEE, "caller.c": CALLER, **strange}, "-g"
    )
    after = build(
        tmp_path / "after",
        {"callee.c": NEW_CALLEE, "caller.c": NEW_CALLER, **strange},
        "-g",
    )

    changes = compare(before, after, Options(system=System.XEN))
    assert str(changes.verdict) == verdict
    codes = [refusal.code for refusal in changes.all_refusals]
    assert codes == (["LP-CHG-904"] if with_stranger else [])


def test_what_is_linked_from_others_is_left_out(tmp_path: Path) -> None:
    directories = []
    for side, text in (("before", CALLEE), ("after", CALLEE.replace("* 3", "* 9"))):
        directory = build(tmp_path / side, {"callee.c": text, "caller.c": CALLER})
        objects = ["callee.o", "caller.o"]
        subprocess.run(
            ["ld", "-r", "-o", "built_in.o", *objects], cwd=directory, check=True
        )
        subprocess.run(["ar", "rcT", "thin.o", *objects], cwd=directory, check=True)
        directories.append(directory)
    pairs = pair_files(*directories)
    names = [pair.name for pair in pairs if not pair.is_same]
    assert names == ["callee.o"]


def test_a_boot_copy_takes_the_place_of_its_object(tmp_path: Path) -> None:
    for side in ("before", "after"):
        directory = build(tmp_path / side, {"setup.c": CALLEE + f"/* {side} */\n"})
        subprocess.run(
            [
                *("objcopy", "--rename-section", ".text.count=.init.text"),
                *("setup.o", "setup.init.o"),
            ],
            cwd=directory,
            check=True,
        )
    names = [p.name for p in pair_files(tmp_path / "before", tmp_path / "after")]
    assert names == ["setup.init.o"]


def test_nothing_to_compare(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    build(tmp_path / "some", {"callee.c": CALLEE})
    with pytest.raises(NotFoundError, match="no object file"):
        pair_files(tmp_path / "some", tmp_path / "empty")


MEMBERS = """
struct thing { long first, second, third, fourth; };
long one(struct thing *thing) { return thing->second * 3 + thing->first; }
long two(struct thing *thing) { return thing->third * 5 + thing->second; }
long three(struct thing *thing, long by) { return thing->fourth = by * thing->third; }
"""
ACCESSOR = """
struct thing { long first, second, third, fourth; };
static inline long wanted(struct thing *thing) { return thing->second; }
long one(struct thing *thing) { return wanted(thing) * 3 + 1; }
long two(struct thing *thing) { return wanted(thing) * 5 + 2; }
long three(struct thing *thing) { return wanted(thing) * 7 + 3; }
long four(struct thing *thing) { return wanted(thing) * 9 + 4; }
"""


def suspected(changes: Changes) -> bool:
    return "layout-suspected" in {each.cause for each in changes.refusals}


def test_a_struct_that_grows_shows_without_debug_information(tmp_path: Path) -> None:
    grown = MEMBERS.replace("{ long first", "{ long before, first")
    before = build(tmp_path / "before", {"use.c": MEMBERS})
    after = build(tmp_path / "after", {"use.c": grown})
    changes = compare(before, after)
    assert suspected(changes)
    assert changes.refusals[0].code == "LP-DAT-301"
    assert "+0x8" in changes.refusals[0].evidence


def test_another_member_is_not_another_layout(tmp_path: Path) -> None:
    other = ACCESSOR.replace("return thing->second", "return thing->third")
    before = build(tmp_path / "before", {"use.c": ACCESSOR})
    after = build(tmp_path / "after", {"use.c": other})
    changes = compare(before, after)
    assert changes.verdict is Verdict.CHANGED
    assert len(changes.objects[0].changed_functions) == 4
    assert [note.cause for note in changes.notes] == ["layout-possible"]
