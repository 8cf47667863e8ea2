"""What the machine lacks: a skip on a laptop, a failure in CI."""

import os
from typing import NoReturn

import pytest


def not_there(what: str, error: Exception) -> NoReturn:
    said = getattr(error, "stderr", b"") or b""
    reason = f"{what}: {error} {said.decode(errors='replace').strip()}"
    if os.environ.get("LPENGINE_REQUIRE_SYSTEM") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
