"""The tables of a host's journal."""

from lpengine.journal.database import Schema

# "lpeh"
SCHEMA = Schema(
    application_id=0x6C706568,
    version=1,
    tables="""
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    started TEXT NOT NULL,
    ended TEXT NOT NULL DEFAULT '',
    actor TEXT NOT NULL,
    pid INTEGER NOT NULL,
    verb TEXT NOT NULL,
    updates TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    updates_digest TEXT NOT NULL,
    state_digest TEXT NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0,
    plan TEXT NOT NULL,
    status TEXT NOT NULL,
    error TEXT NOT NULL DEFAULT '',
    "left" TEXT NOT NULL DEFAULT '[]'
) STRICT;
CREATE TABLE steps (
    run INTEGER NOT NULL REFERENCES runs (id),
    "index" INTEGER NOT NULL,
    step TEXT NOT NULL,
    undoing INTEGER NOT NULL,
    state TEXT NOT NULL,
    begun TEXT NOT NULL,
    ended TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (run, "index")
) STRICT, WITHOUT ROWID;
CREATE TABLE updates (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,
    manifest BLOB NOT NULL,
    signer TEXT NOT NULL,
    on_disk INTEGER NOT NULL,
    since TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    run INTEGER NOT NULL REFERENCES runs (id),
    coming INTEGER NOT NULL
) STRICT;
CREATE TABLE modules (
    "update" TEXT NOT NULL REFERENCES updates (id) ON DELETE CASCADE,
    sha256 TEXT NOT NULL,
    raw BLOB NOT NULL,
    PRIMARY KEY ("update", sha256)
) STRICT;
CREATE TABLE pending (
    level TEXT NOT NULL,
    task TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    since TEXT NOT NULL,
    run INTEGER NOT NULL,
    PRIMARY KEY (level, task, boot_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE failures (
    component TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    error TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    since TEXT NOT NULL,
    run INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE applied (
    component TEXT NOT NULL,
    name TEXT NOT NULL,
    "to" TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    PRIMARY KEY (component, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE trials (
    component TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    "to" TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    since TEXT NOT NULL,
    run INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
""",
)
