"""One build of an object, cut into units: functions, variables, constants, code that
records point to. A unit is what is matched, compared and carried as a whole."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from lpengine.arch.x86 import is_padding
from lpengine.diff.names import PREFIXES, is_label
from lpengine.diff.sections import SectionKind
from lpengine.elf import Section, Symbol
from lpengine.elf.constants import STT_FILE, STT_FUNC, STT_SECTION


class Role(Enum):
    """What a unit is."""

    FUNCTION = auto()
    CODE = auto()  # without a function symbol
    VARIABLE = auto()  # has a symbol
    ANONYMOUS = auto()  # has none, or only a compiler's label


@dataclass(slots=True, eq=False)
class Unit:
    """Bytes `start` to `end` of a section. `entry` is where the function begins,
    behind what is put in front of it (`__pfx_`, `__cfi_`). `name` is the first
    symbol's, or the section's where there is none."""

    number: int
    role: Role
    section: Section
    kind: SectionKind
    start: int
    end: int
    name: str
    symbols: tuple[Symbol, ...] = ()
    entry: int = 0
    file: str = field(default="")

    @property
    def size(self) -> int:
        return self.end - self.start

    @property
    def symbol(self) -> Symbol | None:
        """The symbol that `name` is from."""
        return next((s for s in self.symbols if s.name == self.name), None)

    @property
    def is_code(self) -> bool:
        return self.role in (Role.FUNCTION, Role.CODE)

    @property
    def is_global(self) -> bool:
        return any(not symbol.is_local for symbol in self.symbols)

    @property
    def is_constant(self) -> bool:
        """Never written: one copy is as good as another, but for its address."""
        return self.kind in (
            SectionKind.CONSTANT,
            SectionKind.MERGED,
            SectionKind.STRINGS,
            SectionKind.ANONYMOUS,
        )

    def __repr__(self) -> str:
        return f"<{self.role.name.lower()} {self.name}>"


@dataclass(slots=True)
class _Span:
    """Symbols that lie in each other, while a section is cut."""

    start: int
    end: int
    symbols: list[Symbol] = field(default_factory=list)


def named_spans(
    section: Section, symbols: Sequence[Symbol], is_code: bool
) -> list[_Span]:
    """The parts of a section that have symbols, in order and apart. Code is cut at
    functions; other names inside of one belong to it."""
    wanted = [each for each in symbols if _cuts(each, is_code)]
    functions = [each for each in wanted if each.is_function] if is_code else wanted
    spans = _spans(functions, section.size)
    if is_code:
        others = [e for e in wanted if not e.is_function and _span_at(spans, e) is None]
        if others:
            spans = _spans([*functions, *others], section.size)
    for symbol in symbols:
        span = _span_at(spans, symbol)
        if span and symbol.type not in (STT_SECTION, STT_FILE):
            span.symbols.append(symbol)
    return spans


def _cuts(symbol: Symbol, is_code: bool) -> bool:
    if symbol.type in (STT_SECTION, STT_FILE) or not symbol.name:
        return False
    return not is_label(symbol.name) or (symbol.size > 0 and not is_code)


def _spans(symbols: Sequence[Symbol], size: int) -> list[_Span]:
    ordered = sorted(symbols, key=lambda each: (each.value, -each.size))
    starts = sorted({each.value for each in ordered if each.value < size})
    spans: list[_Span] = []
    for symbol in ordered:
        if symbol.value >= size:
            if size == 0 and not spans:
                spans.append(_Span(0, 0))
            continue
        if spans and symbol.value < spans[-1].end:
            continue
        following = bisect_right(starts, symbol.value)
        limit = starts[following] if following < len(starts) else size
        end = min(symbol.value + symbol.size, size) if symbol.size else limit
        spans.append(_Span(symbol.value, end))
    return spans


def _span_at(spans: Sequence[_Span], symbol: Symbol) -> _Span | None:
    at = bisect_right(spans, symbol.value, key=lambda span: span.start) - 1
    if at >= 0 and (symbol.value < spans[at].end or spans[at].end == 0):
        return spans[at]
    return None


def with_prefixes(spans: Sequence[_Span]) -> Iterator[tuple[_Span, int]]:
    """Functions with what is put in front of them, and where the function begins."""
    waiting: _Span | None = None
    for span in spans:
        if _is_prefix(span):
            if waiting is not None:
                yield waiting, 0
            waiting = span
        elif waiting is not None and waiting.end == span.start:
            both = _Span(waiting.start, span.end, [*span.symbols, *waiting.symbols])
            yield both, span.start - waiting.start
            waiting = None
        else:
            if waiting is not None:
                yield waiting, 0
                waiting = None
            yield span, 0
    if waiting is not None:
        yield waiting, 0


def _is_prefix(span: _Span) -> bool:
    return all(symbol.name.startswith(PREFIXES) for symbol in span.symbols)


def principal(symbols: Sequence[Symbol]) -> Symbol:
    """The symbol a unit is called by: a function before a plain name, a global
    before a local, no prefix, else the first."""

    def rank(symbol: Symbol) -> tuple[bool, bool, bool, int, str]:
        return (
            symbol.name.startswith(PREFIXES) or is_label(symbol.name),
            symbol.type != STT_FUNC,
            symbol.is_local,
            symbol.value,
            symbol.name,
        )

    return min(symbols, key=rank)


def with_tails(spans: Sequence[_Span], size: int) -> None:
    """Code behind the only function of a section belongs to it: what inline assembly
    puts there (`.subsection`)."""
    if sum(not _is_prefix(span) for span in spans) == 1 and not _is_prefix(spans[-1]):
        spans[-1].end = size


def gaps(
    spans: Sequence[tuple[int, int]],
    size: int,
    data: bytes,
    is_code: bool,
    busy: Sequence[int],
) -> Iterator[tuple[int, int]]:
    """The parts of a section without symbols that hold anything: bytes that are no
    padding, or fields to relocate (`busy`, sorted)."""
    at = 0
    for start, end in [*spans, (size, size)]:
        if at < start and _holds(data[at:start], is_code, at, start, busy):
            yield at, start
        at = max(at, end)


def _holds(
    data: bytes, is_code: bool, start: int, end: int, busy: Sequence[int]
) -> bool:
    following = bisect_right(busy, start - 1)
    if following < len(busy) and busy[following] < end:
        return True
    return not is_padding(data) if is_code else any(data)
