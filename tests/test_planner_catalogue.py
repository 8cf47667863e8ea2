"""The catalogue is complete: every cause has a code, every code all its texts."""

import re

import pytest

from lpengine.errors import NotFoundError
from lpengine.patch.xen.refusals import DEFECTS, REFUSALS
from lpengine.planner import CATALOGUE, Code, Guidance, explain
from lpengine.planner.catalogue.causes import CODE_OF, PHASE_OF

# The numbers that other documents and other tools refer to.
PUBLISHED = {
    "MOD": (1, 2, 3, 4, 5, 6),
    "TGT": (101, 102, 103, 104, 105),
    "SYM": (151, 152, 153, 154),
    "SHP": (171, 172, 173, 174, 175, 176),
    "QUI": (201, 202, 203, 204, 205, 206, 207),
    "DAT": (301, 302, 303, 304, 305, 306),
    "POL": (401, 402, 403, 404, 405, 406, 407),
    "DEP": (501, 502, 503, 504, 505, 506, 507),
    "ENV": (601, 602, 603, 604, 605, 606, 607, 608, 609),
    "DSK": (701, 702, 703, 704, 705),
}


def test_every_refusal_and_defect_has_a_code() -> None:
    assert {*REFUSALS, *DEFECTS} <= set(CODE_OF)
    assert set(CODE_OF.values()) <= set(CATALOGUE)
    assert set(PHASE_OF) == set(CODE_OF)


def test_published_codes_stay() -> None:
    codes = {
        f"LP-{group}-{n:03}" for group, numbers in PUBLISHED.items() for n in numbers
    }
    assert len(codes) == 62
    assert codes <= set(CATALOGUE)


def test_names_and_numbers_are_unique() -> None:
    names = [code.name for code in CATALOGUE.values()]
    numbers = [code.code[-3:] for code in CATALOGUE.values()]
    assert len(set(names)) == len(names)
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("code", CATALOGUE.values(), ids=lambda code: code.code)
def test_texts_are_complete(code: Code) -> None:
    assert re.fullmatch(r"LP-[A-Z]{3}-\d{3}", code.code)
    assert re.fullmatch(r"[A-Z][A-Z0-9_]+", code.name)
    assert code.summary.endswith(".")
    assert code.detection.endswith(".")
    assert code.source
    assert code.remedy[-1] != "."
    assert len(code.text) > 80
    assert isinstance(code.guidance, Guidance)
    assert "  " not in code.summary + code.detection + code.remedy + code.text


@pytest.mark.parametrize("asked", ["LP-SHP-171", "lp-shp-171", "function_too_short"])
def test_explain_takes_number_and_name(asked: str) -> None:
    assert explain(asked).code == "LP-SHP-171"


def test_explain_says_what_a_code_looks_like() -> None:
    with pytest.raises(NotFoundError, match="LP-XXX-999") as caught:
        explain("LP-XXX-999")
    assert "LP-SHP-171" in caught.value.hint
