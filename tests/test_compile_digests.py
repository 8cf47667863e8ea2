"""Files are hashed once, and again whenever they may have changed."""

import hashlib
import os
from pathlib import Path

import pytest

from lpengine.compile import digests as module
from lpengine.compile.digests import digests


@pytest.fixture(autouse=True)
def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file changed just now."""
    monkeypatch.setenv("LPENGINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_SETTLED_SECONDS", -1)


def hash_of(root: Path, name: str = "a") -> str:
    with digests(root) as known:
        return known.of(root / name, name)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a").write_bytes(b"one")
    return tmp_path / "tree"


def forbid_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    def hashed(*arguments: object) -> None:
        raise AssertionError("hashed again")

    monkeypatch.setattr(module.hashlib, "file_digest", hashed)


def test_a_file_that_stays_is_not_read_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hash_of(root) == sha(b"one")
    forbid_hashing(monkeypatch)
    assert hash_of(root) == sha(b"one")


def test_a_change_is_seen_whatever_the_times_say(root: Path) -> None:
    """Of the same size, with the old modification time."""
    hash_of(root)
    before = (root / "a").stat()
    (root / "a").write_bytes(b"two")
    os.utime(root / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert hash_of(root) == sha(b"two")


def test_another_file_in_its_place_is_seen(root: Path) -> None:
    hash_of(root)
    (root / "b").write_bytes(b"two")
    (root / "b").replace(root / "a")
    assert hash_of(root) == sha(b"two")


def test_what_changed_just_now_is_not_remembered(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SETTLED_SECONDS", 1000)
    hash_of(root)
    forbid_hashing(monkeypatch)
    with pytest.raises(AssertionError, match="hashed again"):
        hash_of(root)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"a": [1]}', b"[]"])
def test_a_damaged_memory_is_none(root: Path, tmp_path: Path, damage: bytes) -> None:
    hash_of(root)
    (store,) = (tmp_path / "cache/digests").iterdir()
    store.write_bytes(damage)
    assert hash_of(root) == sha(b"one")


def test_two_trees_do_not_share_their_memory(root: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a").write_bytes(b"two")
    hash_of(root)
    assert hash_of(tmp_path / "other") == sha(b"two")
    assert len(list((tmp_path / "cache/digests").iterdir())) == 2
