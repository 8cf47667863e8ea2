"""The verbs keep their contract on an emulated machine here."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verb_contract import Place, VerbContract, output
from tests.verb_places import emulated

__all__ = ["output"]


class TestEmulated(VerbContract):
    @pytest.fixture
    def place(self, hv_image: Path, tmp_path: Path, output: Callable[[], str]) -> Place:
        return emulated(tmp_path, hv_image, output)
