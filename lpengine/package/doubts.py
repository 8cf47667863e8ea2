"""What is wrong with an update's metadata, and the safe way to take it."""

from dataclasses import replace

from lpengine.package.model import FAILURES, Defect, Level, Task, Update

_LONGEST = 120


def clipped(text: str) -> str:
    """What somebody else wrote, as far as it has to be repeated."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


class Malformed(Exception):
    """A part is not what it must be. `where` is its place within what was read, ""
    or starting with "." or "["."""

    def __init__(self, where: str, what: str) -> None:
        self.where = clipped(where)
        self.what = clipped(what)
        super().__init__(f"{self.where}: {self.what}")


class Doubts:
    """The defects of one update, as they are found."""

    def __init__(self) -> None:
        self._found: list[Defect] = []
        self._general: list[tuple[str, str]] = []

    def __len__(self) -> int:
        return len(self._found) + len(self._general)

    def note(self, where: str, what: str) -> None:
        """What nothing depends on, or what was given a safe value."""
        self._found.append(Defect(clipped(where), clipped(what)))

    def about(self, component: str, where: str, what: str) -> None:
        """No live patch of that component is to be relied on."""
        self._found.append(Defect(clipped(where), clipped(what), component))

    def general(self, where: str, what: str) -> None:
        """It may bear on anything: no live patch of the update is to be relied on,
        and it recommends a reboot."""
        self._general.append((where, what))

    def word(self, word: object, where: str) -> Task:
        """The task that a word of guidance stands for."""
        if not isinstance(word, str):
            self.note(where, "not a word, counts as reboot_host")
            return Task.REBOOT_HOST
        try:
            task = Task(word)
        except ValueError:
            self.note(where, f"{word!r} is unknown, counts as reboot_host")
            return Task.REBOOT_HOST
        if task in FAILURES:
            self.note(where, f"{word} is not for updates, counts as reboot_host")
            return Task.REBOOT_HOST
        return task

    def settle(self, update: Update) -> Update:
        """The update with its defects and what follows from them."""
        spread = [
            Defect(clipped(where), clipped(what), component)
            for where, what in self._general
            for component in update.components or ("",)
        ]
        guidance = dict(update.guidance)
        recommended = guidance.get(Level.RECOMMENDED, ())
        if self._general and Task.REBOOT_HOST not in recommended:
            guidance[Level.RECOMMENDED] = (*recommended, Task.REBOOT_HOST)
        return replace(update, guidance=guidance, defects=(*self._found, *spread))
