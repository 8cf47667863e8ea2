"""The catalogue of reasons: stable codes with what they mean and the way out."""

from collections.abc import Mapping
from types import MappingProxyType

from lpengine.errors import NotFoundError
from lpengine.planner.catalogue.change import CODES as CHANGE
from lpengine.planner.catalogue.code import Code
from lpengine.planner.catalogue.data import CODES as DATA
from lpengine.planner.catalogue.dependencies import CODES as DEPENDENCIES
from lpengine.planner.catalogue.disk import CODES as DISK
from lpengine.planner.catalogue.environment import CODES as ENVIRONMENT
from lpengine.planner.catalogue.module import CODES as MODULE
from lpengine.planner.catalogue.policy import CODES as POLICY
from lpengine.planner.catalogue.quiescence import CODES as QUIESCENCE
from lpengine.planner.catalogue.shape import CODES as SHAPE
from lpengine.planner.catalogue.symbols import CODES as SYMBOLS
from lpengine.planner.catalogue.target import CODES as TARGET
from lpengine.planner.catalogue.updates import CODES as UPDATES

__all__ = ["CATALOGUE", "Code", "explain"]

CATALOGUE: Mapping[str, Code] = MappingProxyType(
    {
        code.code: code
        for group in (
            MODULE,
            TARGET,
            SYMBOLS,
            SHAPE,
            QUIESCENCE,
            DATA,
            POLICY,
            DEPENDENCIES,
            ENVIRONMENT,
            DISK,
            CHANGE,
            UPDATES,
        )
        for code in group
    }
)
_BY_NAME = {code.name: code for code in CATALOGUE.values()}


def explain(code: str) -> Code:
    """The entry for "LP-SHP-171" or "FUNCTION_TOO_SHORT", in any case.

    Raises NotFoundError for what is neither.
    """
    wanted = code.strip().upper()
    found = CATALOGUE.get(wanted) or _BY_NAME.get(wanted)
    if found is None:
        raise NotFoundError(
            f"no reason code {code!r}",
            hint="codes look like LP-SHP-171; lpengine explain lists them all",
        )
    return found
