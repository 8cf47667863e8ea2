"""Headers that a fix adds to: which additions can matter to nobody else."""

from pathlib import Path

import pytest

from lpengine.compile.additions import added_names, quiet_headers

HEADER = b"""\
#ifndef ONE_H
#define ONE_H
#include <linux/types.h>

struct one {
\tint value;
\tint other;
};

#ifdef CONFIG_ONE
int one_get(const struct one *one);
#else
static inline int one_get(const struct one *one)
{
\treturn 0;
}
#endif

#define one_each(x) \\
\tdo { \\
\t} while (x)

static inline int one_twice(const struct one *one)
{
#ifdef CONFIG_TWICE
\treturn 2 * one->value;
#endif
\treturn one->value;
}
#endif
"""


def edited(before: str, after: str) -> bytes:
    assert HEADER.count(before.encode()) == 1
    return HEADER.replace(before.encode(), after.encode())


FRONT = "static inline int one_twice"


@pytest.mark.parametrize(
    ("added", "names"),
    [
        ("int one_set(struct one *one, int value);\n", {b"one_set"}),
        ("extern struct one *one_new(void (*f)(int), ...);\n", {b"one_new"}),
        (
            "__printf(2, 3) __must_check\nint one_say(int, const char *, ...);\n",
            {b"one_say"},
        ),
        ("static inline bool one_is(int x)\n{\n\treturn x == 1;\n}\n", {b"one_is"}),
        ("static __always_inline void one_up(void)\n{\n}\n\n", {b"one_up"}),
        ("#define ONE_MASK 7\n", {b"ONE_MASK"}),
        ("#define one_all(x) \\\n\tdo { \\\n\t} while (x)\n", {b"one_all"}),
        ("extern int one_count, one_limit[4];\n", None),
        ("extern const char one_name[];\n", {b"one_name"}),
        ("struct two;\n", set()),
        ("/* One { or two. */\n", set()),
        (
            "#ifdef CONFIG_A\nint a(void);\n#else\nstatic inline int a(void)\n{\n"
            "\treturn 0;\n}\n#endif\n",
            {b"a"},
        ),
        ("#include <linux/two.h>\n", None),
        ("#undef ONE_H\n", None),
        ("#ifdef CONFIG_A\n", None),
        ("#pragma pack(1)\n", None),
        ("int one_global;\n", None),
        ("static int one_static = 1;\n", None),
        ("int one_body(void)\n{\n\treturn 1;\n}\n", None),
        ("static inline __used int one_kept(void)\n{\n\treturn 1;\n}\n", None),
        (
            "__attribute__((constructor)) static inline void c(void)\n{\n}\n",
            None,
        ),
        ("const struct new (*one_hook)(int);\n", None),
        ("DECLARE_ONE(name);\n", None),
        ("typedef int one_t;\n", None),
        ("EXPORT_SYMBOL(one);\n", None),
        ("static inline int one_x(void) { return 1; } int y;\n", None),
    ],
)
def test_what_is_added_is_named(added: str, names: set[bytes] | None) -> None:
    assert added_names(HEADER, edited(FRONT, f"{added}{FRONT}")) == names


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("\tint other;\n", "\tint other;\n\tint third;\n"),
        ("\treturn one->value;", "\treturn one->value + 1;"),
        ("\tdo { \\\n", "\tdo { \\\n\t\tx(); \\\n"),
        ("#ifdef CONFIG_ONE\n", "#if 0\n"),
        ("int one_get(const struct one *one);\n", ""),
        ("#ifdef CONFIG_TWICE\n", "#ifdef CONFIG_TWICE\n\tone_get(one);\n"),
        ("#define ONE_H\n", "#define ONE_H 1\n"),
    ],
)
def test_what_changes_is_no_addition(before: str, after: str) -> None:
    assert added_names(HEADER, edited(before, after)) is None


def test_comments_and_numbers_of_lines_are_nothing() -> None:
    after = edited(FRONT, f"/*\n * A {{ comment. */\n#line 25\n{FRONT}")
    assert added_names(HEADER, after) == set()


def test_who_mentions_a_name_decides(tmp_path: Path) -> None:
    base, work = tmp_path / "base", tmp_path / "work"
    for side in (base, work):
        side.mkdir()
    (base / "one.h").write_bytes(HEADER)
    (work / "one.h").write_bytes(edited(FRONT, f"int one_set(int);\n{FRONT}"))
    (base / "one.c").write_text("static int one_set(int x) { return x; }\n")
    (base / "two.c").write_text("int one_setting;\n")
    assert quiet_headers(base, work, ["one.c", "one.h"]) == {"one.h"}
    assert quiet_headers(base, work, ["two.c", "one.h"]) == set()
    (base / "two.h").write_text("#define ONE one_set\n")
    assert quiet_headers(base, work, ["one.c", "two.h", "one.h"]) == set()
