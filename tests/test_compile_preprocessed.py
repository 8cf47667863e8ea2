"""Changes to headers matter where something mentions what changed."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpengine.compile.preprocessed import declarations, matters

HEAD = b'# 1 "a.h"\n# 3 "a.h" 2\nstruct s { int a; };\nextern int say(const char *);\n'
OLD = b"static inline int one(int x)\n{\n\treturn x + 1;\n}\n"
NEW = b"static inline int one(int x)\n{\n\tif (x)\n\t\treturn 0;\n\treturn x + 2;\n}\n"
TAIL = b'int user(int x) { say("two() { ;"); return x; }\n'


def source(function: bytes, *more: bytes) -> bytes:
    return b"\n".join((HEAD, function, TAIL, *more))


def test_a_function_that_nothing_mentions_does_not_matter() -> None:
    assert not matters(source(OLD), source(NEW))


def test_lines_and_blanks_do_not_matter() -> None:
    assert not matters(source(OLD), b"\n\n" + source(OLD.replace(b"\t", b"    ")))
    assert not matters(source(OLD), source(b'# 77 "b.h"\n' + OLD))


@pytest.mark.parametrize(
    "use",
    [
        b"int f(void) { return one(3); }",
        b"int (*pointer)(int) = one;",
        b"static inline int two(int x) { return one(x); }",
        b"static inline int one(int x);",
    ],
)
def test_a_function_that_is_mentioned_matters(use: bytes) -> None:
    assert matters(source(OLD, use), source(NEW, use))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"struct t { int a; };", b"struct t { int a, b; };"),
        (b"enum { A = 1 };", b"enum { A = 2 };"),
        (b"static int x = 1;", b"static int x = 2;"),
        (b"extern int y;", b"extern long y;"),
        (b"int global(void) { return 1; }", b"int global(void) { return 2; }"),
        (
            b"static int local(void) { return 1; }",
            b"static int local(void) { return 2; }",
        ),
        (b"inline int h(void) { return 1; }", b"inline int h(void) { return 2; }"),
        (b'asm(".align 4");', b'asm(".align 8");'),
        (
            b"static inline __attribute__((used)) int k(void) { return 1; }",
            b"static inline __attribute__((used)) int k(void) { return 2; }",
        ),
        (
            b'static inline __attribute__((__section__("x"))) int k(void) { }',
            b'static inline __attribute__((__section__("x"))) int k(void) { ; }',
        ),
    ],
)
def test_everything_else_matters(old: bytes, new: bytes) -> None:
    assert matters(source(OLD, old), source(OLD, new))
    assert matters(source(OLD, old), source(OLD))
    assert matters(source(OLD), source(OLD, new))


def test_attributes_do_not_hide_a_functions_name() -> None:
    attribute = b"__attribute__((__flatten__)) __attribute__((format(printf, 1, 2))) "
    old, new = (each.replace(b"int one", attribute + b"int one") for each in (OLD, NEW))
    assert not matters(source(old), source(new))
    assert matters(source(old, b"int z = one(1);"), source(new, b"int z = one(1);"))


def test_pragmas_matter() -> None:
    use = b"int last;"
    packed = b"#pragma pack(1)\nint last;"
    assert matters(source(OLD, use), source(OLD, packed))


@pytest.mark.parametrize(
    "head",
    [
        b"static inline __typeof__(int) strange(int x)",
        b"static inline int (*strange(int x))(int)",
    ],
)
def test_a_function_whose_name_is_hard_to_tell_matters(head: bytes) -> None:
    old, new = head + b" { return 0; }", head + b" { return 1; }"
    assert matters(source(OLD, old), source(OLD, new))


def test_a_function_that_takes_a_function_is_told_by_its_name() -> None:
    head = b"static inline int each(int (*call)(int), int x) "
    old, new = head + b"{ return call(x); }", head + b"{ return call(x + 1); }"
    assert not matters(source(OLD, old), source(OLD, new))
    use = b"int f(void) { return each(0, 1); }"
    assert matters(source(OLD, old, use), source(OLD, new, use))


def test_functions_that_only_mention_each_other_do_not_matter() -> None:
    pair = (
        b"static inline int f(int x) { return x ? g(x) : 1; }\n"
        b"static inline int g(int x) { return f(x - 1); }\n"
    )
    changed = pair.replace(b": 1", b": 2").replace(b"- 1", b"- 2")
    assert not matters(source(OLD, pair), source(OLD, changed))


@given(st.binary(max_size=200))
def test_any_text_is_the_same_as_itself(text: bytes) -> None:
    assert not matters(text, text)


def test_declarations_are_told_apart() -> None:
    found = list(
        declarations(b"int a;\nstruct s { int b; } c;\nint f(void) { return ';'; }")
    )
    assert found == [
        *(
            b"int a;",
            b"struct s { int b; }",
            b"c;",
            b"int f(void) { return ';'; }",
            b"",
        ),
    ]


def test_what_does_not_matter_compiles_to_the_same(tmp_path: Path) -> None:
    """The compiler's word for it."""
    objects = []
    for name, function in (("a", OLD), ("b", NEW)):
        (tmp_path / "t.c").write_bytes(source(function))
        argv = ["gcc", "-O2", "-c", "t.c", "-o", f"{name}.o"]
        subprocess.run(argv, cwd=tmp_path, check=True)
        objects.append((tmp_path / f"{name}.o").read_bytes())
    assert objects[0] == objects[1]
