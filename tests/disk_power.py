"""A disk that forgets: what was not synced may be there after a power cut, or not,
or in part, in any combination.

The model is weaker than any file system in use, after Pillai et al., "All File Systems
Are Not Created Equal" (OSDI 2014): names in a directory are durable once that directory
was synced, bytes and attributes of a file once the file was; a rename is atomic within
its directory; nothing else has an order.
"""

import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from lpengine.targets.disk import System


@dataclass
class Node:
    """A file, a link or a directory. What comes first in `versions` is durable, what
    comes last is what a program sees."""

    kind: str
    versions: list[tuple[bytes, int]] = field(default_factory=lambda: [(b"", 0o600)])
    entries: dict[str, "Node"] = field(default_factory=dict)
    # Effects on `entries` that are not durable yet: name -> node, or None = gone.
    pending: list[dict[str, "Node | None"]] = field(default_factory=list)

    def see(self) -> dict[str, "Node"]:
        return applied(self.entries, self.pending)


def applied(
    entries: dict[str, Node], effects: list[dict[str, Node | None]]
) -> dict[str, Node]:
    found = dict(entries)
    for effect in effects:
        for name, node in effect.items():
            if node is None:
                found.pop(name, None)
            else:
                found[name] = node
    return found


class PowerCut(BaseException):
    """Nobody catches it and nothing runs after it: the test takes what is durable."""


class ForgetfulDisk(System):
    """Does everything on the real disk as well, so that the code under test sees it,
    but for syncing, which takes long; `left` calls are carried out, then the power
    fails."""

    def __init__(self, root: Path, left: int) -> None:
        self.root = root
        self.top = read(root)
        self.left = left
        self.calls = 0
        self.nodes: dict[int, Node] = {}
        self.dead = False

    def call(self) -> None:
        """Nothing at all happens any more once the power is off."""
        if self.calls >= self.left or self.dead:
            self.dead = True
            raise PowerCut
        self.calls += 1

    # The model

    def node(self, path: Path) -> Node:
        here = self.top
        for part in path.relative_to(self.root).parts:
            here = here.see()[part]
        return here

    def effect(self, directory: Path, **names: Node | None) -> None:
        self.node(directory).pending.append(dict(names))

    def changed(
        self, node: Node, data: bytes | None = None, mode: int | None = None
    ) -> None:
        last_data, last_mode = node.versions[-1]
        node.versions.append(
            (
                last_data if data is None else data,
                last_mode if mode is None else mode,
            )
        )

    # System

    def create(self, path: Path) -> int:
        self.call()
        descriptor = super().create(path)
        self.nodes[descriptor] = Node("file")
        self.effect(path.parent, **{path.name: self.nodes[descriptor]})
        return descriptor

    def write(self, descriptor: int, data: bytes) -> None:
        self.call()
        super().write(descriptor, data)
        node = self.nodes[descriptor]
        self.changed(node, data=node.versions[-1][0] + bytes(data))

    def change_owner(self, descriptor: int, uid: int, gid: int) -> None:
        self.call()
        super().change_owner(descriptor, uid, gid)

    def change_mode(self, descriptor: int, mode: int) -> None:
        self.call()
        super().change_mode(descriptor, mode)
        self.changed(self.nodes[descriptor], mode=mode)

    def set_attribute(self, descriptor: int, name: str, value: bytes) -> None:
        self.call()
        super().set_attribute(descriptor, name, value)

    def set_modified(self, descriptor: int, nanoseconds: int) -> None:
        self.call()
        super().set_modified(descriptor, nanoseconds)

    def sync(self, descriptor: int) -> None:
        self.call()
        node = self.nodes[descriptor]
        node.versions = node.versions[-1:]

    def close(self, descriptor: int) -> None:
        os.close(descriptor)
        self.nodes.pop(descriptor, None)

    def link(self, path: Path, name: Path) -> None:
        self.call()
        super().link(path, name)
        self.effect(name.parent, **{name.name: self.node(path)})

    def symlink(self, target: str, path: Path) -> None:
        self.call()
        super().symlink(target, path)
        link = Node("link", [(target.encode(), 0)])
        self.effect(path.parent, **{path.name: link})

    def change_link_owner(self, path: Path, uid: int, gid: int) -> None:
        self.call()
        super().change_link_owner(path, uid, gid)

    def rename(self, path: Path, name: Path) -> None:
        self.call()
        assert path.parent == name.parent, "atomic within one directory only"
        here = self.node(path.parent).see()
        super().rename(path, name)
        if here[path.name] is not here.get(name.name):  # else nothing (POSIX, rename)
            self.effect(path.parent, **{path.name: None, name.name: here[path.name]})

    def remove(self, path: Path) -> None:
        self.call()
        super().remove(path)
        self.effect(path.parent, **{path.name: None})

    def make_directory(self, path: Path, mode: int) -> None:
        self.call()
        super().make_directory(path, mode)
        self.effect(path.parent, **{path.name: Node("directory")})

    def remove_directory(self, path: Path) -> None:
        self.call()
        super().remove_directory(path)
        self.effect(path.parent, **{path.name: None})

    def sync_directory(self, path: Path) -> None:
        self.call()
        node = self.node(path)
        node.entries, node.pending = node.see(), []

    # What the power cut leaves

    def restart(self, chance: random.Random) -> None:
        """Put onto the real disk one of the states that it may come up with."""
        shutil.rmtree(self.root)
        write(self.root, survivor(self.top, chance, {}), {})


def read(path: Path, known: dict[int, Node] | None = None) -> Node:
    """All that is there now, and durable; names of one file share a node."""
    known = {} if known is None else known
    if path.is_symlink():
        return Node("link", [(str(path.readlink()).encode(), 0)])
    if path.is_dir():
        entries = {child.name: read(child, known) for child in path.iterdir()}
        return Node("directory", entries=entries)
    found = path.stat()
    if found.st_ino not in known:
        mode = found.st_mode & 0o7777
        known[found.st_ino] = Node("file", [(path.read_bytes(), mode)])
    return known[found.st_ino]


def survivor(node: Node, chance: random.Random, made: dict[int, Node]) -> Node:
    """One way in which it may have survived. Effects that were not synced come true
    or do not, each for itself."""
    if id(node) in made:
        return made[id(node)]
    made[id(node)] = found = Node(node.kind, [surviving_version(node, chance)])
    style = chance.randrange(4)
    kept = [
        effect
        for effect in node.pending
        if style == 0 or (style > 1 and chance.random() < 0.5)
    ]
    entries = applied(node.entries, kept)
    found.entries = {n: survivor(each, chance, made) for n, each in entries.items()}
    return found


def surviving_version(node: Node, chance: random.Random) -> tuple[bytes, int]:
    if len(node.versions) == 1:
        return node.versions[0]
    data, mode = chance.choice(node.versions)
    size = chance.randint(0, len(data))
    damaged = (data, data[:size], data[:size] + bytes(len(data) - size))
    return chance.choice(damaged), mode


def write(path: Path, node: Node, made: dict[int, Path]) -> None:
    if id(node) in made and node.kind == "file":
        os.link(made[id(node)], path)
        return
    made[id(node)] = path
    data, mode = node.versions[0]
    if node.kind == "link":
        path.symlink_to(data.decode())
    elif node.kind == "directory":
        path.mkdir()
        for name, child in node.entries.items():
            write(path / name, child, made)
    else:
        path.write_bytes(data)
        path.chmod(mode)
