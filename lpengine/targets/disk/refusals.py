"""Why the files of an update are not put on this disk."""

from lpengine.errors import RefusedError
from lpengine.planner.catalogue import CATALOGUE
from lpengine.planner.catalogue.causes import CODE_OF


class DiskRefusal(RefusedError):
    """Nothing was changed. `cause` is one of lpengine.planner.catalogue.causes,
    `path` the file it is about as the update names it."""

    def __init__(self, cause: str, message: str, path: str = "") -> None:
        code = CODE_OF[cause]
        super().__init__(message, codes=[code], hint=CATALOGUE[code].remedy)
        self.cause = cause
        self.path = path
