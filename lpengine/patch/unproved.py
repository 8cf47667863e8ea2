"""What to say of a base that is not what the image was linked from."""

from collections.abc import Sequence

from lpengine.errors import BuildError
from lpengine.patch.proof import Difference

_CODE = "LP-TGT-108"
_SHOWN = 10


class NotProvedError(BuildError):
    """The original objects are not those of the running image. `differences` are all
    that were found; `report` shows the first of them."""

    def __init__(
        self, image: str, differences: Sequence[Difference], cause: str
    ) -> None:
        files = {each.object for each in differences}
        super().__init__(
            f"{image}: was not linked from what was built: {len(differences)} "
            f"functions of {len(files)} objects differ",
            codes=(_CODE,),
            hint=cause,
        )
        self.differences = tuple(differences)

    @property
    def report(self) -> str:
        lines = [
            f"  {each.object} {each.function}: {each.evidence}"
            for each in self.differences[:_SHOWN]
        ]
        more = len(self.differences) - _SHOWN
        return "\n".join([*lines, *([f"  and {more} more"] if more > 0 else [])])


def likely_cause(
    differences: Sequence[Difference],
    objects: int,
    *,
    image_compilers: Sequence[str],
    our_compilers: Sequence[str],
    configuration: str,
    other_configuration: Sequence[str],
) -> str:
    """One sentence: what to look at first. `objects` is how many there are in all;
    `other_configuration` are settings in which the image's own configuration differs
    from the one that was used."""
    if image_compilers and not set(image_compilers) & set(our_compilers):
        return (
            f"the image was compiled by {', '.join(image_compilers)}, this is "
            f"{', '.join(our_compilers)}: give the same with --compiler"
        )
    if other_configuration:
        shown = ", ".join(other_configuration[:4])
        return (
            f"the image has another configuration than {configuration}: {shown}; "
            "leave --config out to use the image's own"
        )
    files = sorted({each.object for each in differences})
    if len(files) <= min(_SHOWN, objects // 2):
        return (
            f"is the tree at the image's commit, with its patches? Look at "
            f"{', '.join(files)}"
        )
    return (
        f"is {configuration} the image's configuration, and the tree at the image's "
        "commit?"
    )
