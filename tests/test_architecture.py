"""The direction of imports, one room for each outside library, and a README that
tells the truth about the tree. Needs nothing but the sources."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lpengine"

# Bottom to top: a room imports only rooms further up this list, and itself.
ROOMS = [
    "errors",
    "core",
    "command",
    "arch",
    "hosts",
    "elf",
    "diff",
    "compile",
    "patch",
    "package",
    "planner",
    "machine",
    "loader",
    "targets",
    "prove",
    "journal",
    "engine",
    "installer",
    "pool",
    "report",
    "api",
    "cli",
    "__main__",
]

# Where an outside library may be imported: replacing it is a change to one room.
LIBRARY_ROOMS = {
    "capstone": {"arch"},
    "cffi": set(),
    "click": {"cli"},
    "cryptography": {"package"},
    "elftools": {"elf"},
    "jinja2": {"report"},
    "keystone": {"arch"},
    "lz4": {"elf"},
    "rich": {"report"},
    "sqlite3": {"journal"},
    "subprocess": {"command"},
    "tomlkit": {"pool"},
    "unicorn": {"machine"},
    "zstandard": {"elf", "package"},
}

IMPURE = {"os", "pathlib", "subprocess", "socket", "time", "random", "datetime"}


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every imported module with its line, imports inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module
            if node.module == "lpengine":
                for alias in node.names:
                    yield node.lineno, f"lpengine.{alias.name}"
            else:
                yield node.lineno, node.module


def all_imports() -> Iterator[tuple[str, str, str]]:
    """(where, importing room, imported module) for every import in the package."""
    for path in sources():
        for line, module in imports(path):
            yield f"{path.relative_to(ROOT)}:{line}", room_of(path), module


def test_every_source_is_in_a_known_room() -> None:
    rooms = {room_of(path) for path in sources()} - {"__init__"}
    assert rooms <= set(ROOMS)


def test_rooms_import_only_rooms_below() -> None:
    wrong = []
    for where, room, module in all_imports():
        parts = module.split(".")
        if parts[0] != "lpengine" or room == "__init__":
            continue
        imported = parts[1] if len(parts) > 1 else "__init__"
        if imported == "_core":
            allowed = room == "core"
        elif imported not in ROOMS:
            allowed = False
        else:
            allowed = ROOMS.index(imported) <= ROOMS.index(room)
        if not allowed:
            wrong.append(f"{where}: {room} imports {module}")
    assert wrong == []


def test_outside_libraries_stay_in_their_rooms() -> None:
    wrong = [
        f"{where}: {room} imports {module}"
        for where, room, module in all_imports()
        if (library := module.split(".")[0]) in LIBRARY_ROOMS
        and room not in LIBRARY_ROOMS[library]
    ]
    assert wrong == []


def test_planner_is_pure() -> None:
    wrong = [
        f"{where}: imports {module}"
        for where, room, module in all_imports()
        if room == "planner" and module.split(".")[0] in IMPURE
    ]
    assert wrong == []


def test_modules_have_no_import_cycles() -> None:
    graph: dict[str, set[str]] = {}
    for path in sources():
        relative = path.relative_to(ROOT).with_suffix("")
        name = ".".join(relative.parts).removesuffix(".__init__")
        graph[name] = {m for _, m in imports(path) if m.startswith("lpengine")}
    assert [name for name in graph if reaches(graph, name, name)] == []


def reaches(graph: dict[str, set[str]], start: str, goal: str) -> bool:
    seen: set[str] = set()
    waiting = [resolve(graph, m) for m in graph[start]]
    while waiting:
        module = waiting.pop()
        if module == goal:
            return True
        if module not in seen and module in graph:
            seen.add(module)
            waiting.extend(resolve(graph, m) for m in graph[module])
    return False


def resolve(graph: dict[str, set[str]], module: str) -> str:
    """`from package.module import name` may name a module or a name in one."""
    return module if module in graph else module.rpartition(".")[0]


def test_only_cli_exits_and_only_report_prints() -> None:
    wrong = []
    for path in sources():
        room = room_of(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called in ("sys.exit", "exit", "quit") and room != "cli":
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {called}")
            if called == "print" and room not in ("report", "cli"):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {called}")
    assert wrong == []


@pytest.mark.parametrize(
    "word", ["utils", "helpers", "common", "manager", "handler", "misc"]
)
def test_no_module_has_a_name_that_says_nothing(word: str) -> None:
    assert [path for path in sources() if path.stem == word] == []


def test_readme_tree_names_every_room_and_nothing_else() -> None:
    readme = (ROOT / "README.md").read_text()
    tree = readme[readme.index("lpengine/\n") :].split("```")[0]
    named = set(re.findall(r"^  (\w+)(?:\.py|/)\s", tree, re.MULTILINE))
    present = {room_of(path) for path in sources()} - {"__init__", "__main__"}
    assert named == present


def test_readme_stage_table_names_every_verb() -> None:
    from lpengine.cli import VERBS

    readme = (ROOT / "README.md").read_text()
    rows = set(re.findall(r"^\| `([\w-]+)` ", readme, re.MULTILINE))
    assert rows == set(VERBS)


def test_help_imports_click_and_nothing_heavier() -> None:
    import subprocess

    code = (
        "import sys\n"
        "from lpengine.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = ['capstone', 'keystone', 'unicorn', 'rich', 'elftools', 'msgspec',"
        " 'cffi', 'sqlite3', 'cryptography', 'zstandard']\n"
        "print([m for m in heavy if m in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True
    )
    assert done.stderr.decode().strip() == "[]"
