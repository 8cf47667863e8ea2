"""The symbol index of ELF files against pyelftools, LIEF and `nm`, in one run.

python bench/symbols.py FILE... [--json]
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from elftools.elf.elffile import ELFFile

from lpengine.core import SymbolIndex
from lpengine.elf import open_image

try:
    import lief
except ImportError:
    lief = None


ROUNDS = 3


def seconds(work: Callable[[Path], object], path: Path) -> float:
    """The best of several runs, for us and for every peer alike: the file is in the
    page cache then."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work(path)
        times.append(time.perf_counter() - start)
    return min(times)


def resident_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def grown_kib(path: Path) -> int:
    """What an index adds to a process that has the tables already, measured in a
    process of its own: here freed memory would be used again."""
    code = f"import sys; sys.path[:0] = {sys.path!r}; from symbols import grow; grow()"
    command = [sys.executable, "-c", code, str(path)]
    folder = Path(__file__).parent
    done = subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return int(done.stdout)


def grow() -> None:
    table, strings = find_table(Path(sys.argv[1]))
    before = resident_kib()
    index = SymbolIndex(table, 24, strings)
    index.named("main")
    index.at(0)
    print(resident_kib() - before)


def find_table(path: Path) -> tuple[bytes, bytes]:
    with path.open("rb") as file:
        elf = ELFFile(file)
        table = elf.get_section_by_name(".symtab") or elf.get_section_by_name(".dynsym")
        return table.data(), table.stringtable.data()


def with_image(path: Path) -> None:
    """Open, index, and ask for a name and an address that are there. The peers list
    all symbols, since that is the only way they have of finding one."""
    symbols = open_image(path).symbols
    some = symbols[len(symbols) // 2]
    assert symbols.named(some.name) or not some.name
    symbols.at(some.value)


def with_pyelftools(path: Path) -> dict[str, int]:
    with path.open("rb") as file:
        elf = ELFFile(file)
        table = elf.get_section_by_name(".symtab") or elf.get_section_by_name(".dynsym")
        return {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}


def with_nm(path: Path) -> dict[bytes, bytes]:
    for dynamic in ([], ["-D"]):
        command = ["nm", *dynamic, "-S", str(path)]
        done = subprocess.run(command, check=True, capture_output=True)
        if done.stdout:
            break
    rows = (line.split() for line in done.stdout.splitlines())
    return {row[-1]: row[0] for row in rows}


def with_lief(path: Path) -> dict[str, int]:
    binary = lief.parse(str(path))  # its symbols do not keep it alive
    return {symbol.name: symbol.value for symbol in binary.symbols}


def measure(path: Path) -> dict[str, object]:
    table, strings = find_table(path)
    index = SymbolIndex(table, 24, strings)
    core = seconds(lambda _: SymbolIndex(table, 24, strings), path)
    image = seconds(with_image, path)
    row: dict[str, object] = {
        "file": path.name,
        "symbols": len(index),
        "index ms": round(core * 1e3, 2),
        "index KiB": grown_kib(path.resolve()),
        "open_image ms": round(image * 1e3, 2),
    }
    peers = {"pyelftools": with_pyelftools, "nm": with_nm}
    if lief:
        peers["lief"] = with_lief
    for name, work in peers.items():
        row[f"{name} / open_image"] = round(seconds(work, path) / image, 1)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure(path) for path in options.files]
    if options.json:
        print(json.dumps({"schema": "lpengine/bench-symbols/1", "rows": rows}))
        return
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
