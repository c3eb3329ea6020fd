"""Blocking. The tables of a folder's database and of the device's database, and how they came to be.

Versions of registers are named inside the database by (changeset, index): the arrival number of the changeset that
wrote them and their place in it. That is two small integers instead of a 32-byte hash; `model.changesets.version_id`
gives the public name.

One row of `node` has three groups of columns (`docs/storage.md`): Global (what all accepted records say), Local (`l_`:
what stands on this disk) and Synced (`s_`: the versions the disk is known to hold). `pending` marks the rows where they
may differ.

A new column or table is a new migration: never edit one that has been released.
"""

from __future__ import annotations

from syncd.store.migrating import Executes, Steps

FOLDER = Steps("syncd-folder")
DEVICE = Steps("syncd-device")

FOLDER_TABLES = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;

-- Authors and journals, as small integers.
CREATE TABLE author(id INTEGER PRIMARY KEY, device BLOB NOT NULL UNIQUE);
CREATE TABLE journal(
  id INTEGER PRIMARY KEY, author INTEGER NOT NULL, incarnation BLOB NOT NULL,
  counter INTEGER NOT NULL DEFAULT 0, hash BLOB, told INTEGER NOT NULL DEFAULT 0, closed INTEGER NOT NULL DEFAULT 0,
  UNIQUE(author, incarnation));

-- Changesets in the order they were accepted here. state: 1 applied, 2 quarantined, 3 applied, but the second one with
-- its counter.
CREATE TABLE changeset(
  seq INTEGER PRIMARY KEY, journal INTEGER NOT NULL, counter INTEGER NOT NULL, hash BLOB NOT NULL,
  lamport INTEGER NOT NULL, author INTEGER NOT NULL, roster_number INTEGER NOT NULL, time_ms INTEGER NOT NULL,
  author_name TEXT NOT NULL, ck INTEGER NOT NULL, head BLOB NOT NULL, body BLOB NOT NULL, state INTEGER NOT NULL);
CREATE INDEX changeset_journal ON changeset(journal, counter);
CREATE INDEX changeset_ck ON changeset(ck);
CREATE INDEX changeset_quarantined ON changeset(seq) WHERE state=2;

CREATE TABLE node(
  id INTEGER PRIMARY KEY, nk INTEGER NOT NULL, nid BLOB NOT NULL,
  p_cs INTEGER, p_idx INTEGER, parent INTEGER, name BLOB,
  c_cs INTEGER, c_idx INTEGER, kind INTEGER NOT NULL DEFAULT 0, cls INTEGER, size INTEGER, listed INTEGER, blocks BLOB,
  heads INTEGER NOT NULL DEFAULT 0,
  a_cs INTEGER, a_idx INTEGER, mode INTEGER, mtime INTEGER, xattrs BLOB,
  l_parent INTEGER, l_name BLOB, l_kind INTEGER NOT NULL DEFAULT 0, l_ino INTEGER, l_size INTEGER, l_mtime INTEGER,
  l_ctime INTEGER, l_mode INTEGER, l_seen INTEGER, l_listed INTEGER, l_cls INTEGER, l_blocks BLOB,
  s_ccs INTEGER, s_cidx INTEGER, s_pcs INTEGER, s_pidx INTEGER, s_acs INTEGER, s_aidx INTEGER,
  pending INTEGER NOT NULL DEFAULT 0);
CREATE INDEX node_nk ON node(nk);
CREATE INDEX node_place ON node(parent, name);
CREATE INDEX node_local ON node(l_parent, l_name) WHERE l_kind <> 0;
CREATE INDEX node_ino ON node(l_ino) WHERE l_kind <> 0;
CREATE INDEX node_pending ON node(id) WHERE pending <> 0;

-- Nodes with more than one content head: every head, the greatest included.
CREATE TABLE head(
  node INTEGER NOT NULL, cs INTEGER NOT NULL, idx INTEGER NOT NULL, kind INTEGER NOT NULL, cls INTEGER, size INTEGER,
  listed INTEGER, blocks BLOB, PRIMARY KEY(node, cs, idx)) WITHOUT ROWID;
-- Conflict copies that stand on this disk: a head of a node under a name of its own.
CREATE TABLE copy(
  id INTEGER PRIMARY KEY, node INTEGER NOT NULL, cs INTEGER NOT NULL, idx INTEGER NOT NULL,
  l_parent INTEGER NOT NULL, l_name BLOB NOT NULL, l_kind INTEGER NOT NULL, l_ino INTEGER, l_size INTEGER, l_mtime
  INTEGER, l_ctime INTEGER, l_mode INTEGER, l_seen INTEGER, l_listed INTEGER, l_cls INTEGER, l_blocks BLOB, UNIQUE(node,
  cs, idx));
CREATE INDEX copy_local ON copy(l_parent, l_name);
-- Versions said to be replaced that were not a head here at that moment (they may still arrive).
CREATE TABLE replaced(node INTEGER NOT NULL, version BLOB NOT NULL, PRIMARY KEY(node, version)) WITHOUT ROWID;
-- Every place of a node that has had more than one.
CREATE TABLE place(
  node INTEGER NOT NULL, cs INTEGER NOT NULL, idx INTEGER NOT NULL, parent INTEGER NOT NULL, name BLOB NOT NULL,
  PRIMARY KEY(node, cs, idx)) WITHOUT ROWID;
CREATE INDEX place_parent ON place(parent);
-- Nodes that were named as a parent while they were no directory, and nodes without a place: see `store.lineage`.
CREATE TABLE odd(node INTEGER PRIMARY KEY);
-- The last version known to have left a path (a delete or a move away): it enters the id of what comes there next.
CREATE TABLE departed(parent INTEGER NOT NULL, name BLOB NOT NULL, cs INTEGER NOT NULL, idx INTEGER NOT NULL,
  PRIMARY KEY(parent, name)) WITHOUT ROWID;

-- Where blocks lie on this disk. src: four times the id of a row, plus 0 for `node`, 1 for `copy`, 2 for `old`, 3 for
-- `pack`.
CREATE TABLE block(ck INTEGER NOT NULL, pk INTEGER NOT NULL, src INTEGER NOT NULL, off INTEGER NOT NULL, entry BLOB
  NOT NULL);
CREATE INDEX block_ck ON block(ck);
CREATE INDEX block_pk ON block(pk);
-- Blocks of lists: kept in plain here, encrypted anew when served.
CREATE TABLE list(ck INTEGER NOT NULL, entry BLOB NOT NULL, plain BLOB NOT NULL);
CREATE INDEX list_ck ON list(ck);

-- What is about to be exchanged into the tree; written before, removed with the commit of what was done.
CREATE TABLE intent(
  token TEXT PRIMARY KEY, node INTEGER NOT NULL, cs INTEGER NOT NULL, idx INTEGER NOT NULL, copy INTEGER NOT NULL,
  what INTEGER NOT NULL, l_parent INTEGER NOT NULL, l_name BLOB NOT NULL) WITHOUT ROWID;
-- Inodes in .syncd/old: replaced or deleted files.
CREATE TABLE old(
  id INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, node INTEGER NOT NULL, cs INTEGER, idx INTEGER, name BLOB NOT
  NULL, ino INTEGER, size INTEGER, mtime INTEGER, ctime INTEGER, since REAL NOT NULL, checked INTEGER NOT NULL DEFAULT
  0, blocks BLOB);
-- What stands in the way of one file, for people. node 0: of the folder.
CREATE TABLE problem(
  node INTEGER NOT NULL, path BLOB NOT NULL, code TEXT NOT NULL, why TEXT NOT NULL, fix TEXT NOT NULL, since REAL NOT
  NULL, tries INTEGER NOT NULL DEFAULT 0, retry_at REAL NOT NULL DEFAULT 0, PRIMARY KEY(node, path)) WITHOUT ROWID;
-- Waves of deletions that wait for a person.
CREATE TABLE held(id TEXT PRIMARY KEY, origin TEXT NOT NULL, since REAL NOT NULL, files INTEGER NOT NULL, state INTEGER
NOT NULL, detail BLOB) WITHOUT ROWID;
CREATE TABLE held_node(node INTEGER PRIMARY KEY, wave TEXT NOT NULL);
"""

HISTORY_TABLES = """
-- Files of blocks on the shelf (`docs/storage.md`, "Packs"). verified: when every byte of it was last found right.
CREATE TABLE pack(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, kind INTEGER NOT NULL, size INTEGER NOT NULL, blocks INTEGER NOT
  NULL, made REAL NOT NULL, verified REAL NOT NULL);
-- Every record that counts, by the node it is about.
CREATE TABLE past(node INTEGER NOT NULL, cs INTEGER NOT NULL, idx INTEGER NOT NULL, PRIMARY KEY(node, cs, idx))
  WITHOUT ROWID;
-- When a changeset counts as made: the least time label of itself and of all that had seen it. And what it had seen.
CREATE TABLE moment(seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL);
CREATE INDEX moment_at ON moment(at_ms);
CREATE TABLE saw(cs INTEGER NOT NULL, seen INTEGER NOT NULL, PRIMARY KEY(cs, seen)) WITHOUT ROWID;
-- Moments with a name. kind: 1 by a person, 2 by the schedule. pinned: no rule of time or space takes it away.
CREATE TABLE snapshot(
  name TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, made REAL NOT NULL, kind INTEGER NOT NULL, pinned INTEGER NOT NULL)
  WITHOUT ROWID;
-- What was done with the past and can be undone: the changesets (arrival numbers) that did it.
CREATE TABLE deed(
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, at REAL NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, about TEXT
  NOT NULL, undone TEXT) WITHOUT ROWID;
"""

DEVICE_TABLES = """
CREATE TABLE folder(
  id BLOB PRIMARY KEY, name TEXT NOT NULL, path BLOB NOT NULL, marker BLOB NOT NULL, member_name TEXT NOT NULL,
  added REAL NOT NULL, state TEXT NOT NULL, settings BLOB) WITHOUT ROWID;
-- The roster of each folder, as it travelled.
CREATE TABLE entry(folder BLOB NOT NULL, number INTEGER NOT NULL, raw BLOB NOT NULL, PRIMARY KEY(folder, number))
  WITHOUT ROWID;
-- The current epoch's sealed secrets, everybody's, to serve them; and ours of the newest epoch that we could open.
CREATE TABLE wrap(folder BLOB NOT NULL, device BLOB NOT NULL, epoch BLOB NOT NULL, wrap BLOB NOT NULL,
  PRIMARY KEY(folder, device)) WITHOUT ROWID;
CREATE TABLE own_wrap(folder BLOB PRIMARY KEY, epoch BLOB NOT NULL, wrap BLOB NOT NULL, proof BLOB NOT NULL)
  WITHOUT ROWID;
-- Entries that are not on our chain and yet decide: the first of another history, the one that took us out.
CREATE TABLE evidence(folder BLOB NOT NULL, kind TEXT NOT NULL, raw BLOB NOT NULL, PRIMARY KEY(folder, kind))
  WITHOUT ROWID;
CREATE TABLE address(device BLOB NOT NULL, address TEXT NOT NULL, seen REAL NOT NULL, source TEXT NOT NULL,
  PRIMARY KEY(device, address)) WITHOUT ROWID;
CREATE TABLE peer(folder BLOB NOT NULL, device BLOB NOT NULL, log BLOB, after INTEGER NOT NULL DEFAULT 0, last_seen
REAL, PRIMARY KEY(folder, device)) WITHOUT ROWID;
CREATE TABLE invite(id TEXT PRIMARY KEY, folder BLOB NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE request(id TEXT PRIMARY KEY, folder BLOB NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
"""


@FOLDER
def m001_first(db: Executes) -> None:
    """The tables as of the first version."""
    _run(db, FOLDER_TABLES)


@FOLDER
def m002_steps(db: Executes) -> None:
    """What is about to be done to the tree without content, in that order; removed with the commit of what was done."""
    db.execute(
        "CREATE TABLE step(id INTEGER PRIMARY KEY, what INTEGER NOT NULL, node INTEGER NOT NULL, copy INTEGER, "
        "token BLOB NOT NULL, parent INTEGER, name BLOB)"
    )


@FOLDER
def m003_history(db: Executes) -> None:
    """History: packs of blocks, and the records of every node."""
    _run(db, HISTORY_TABLES)


@FOLDER
def m004_waves(db: Executes) -> None:
    """Why a wave waits; and what passed shortly before one, with the version that stood there."""
    db.execute("ALTER TABLE held ADD COLUMN why TEXT NOT NULL DEFAULT 'gone'")
    db.execute(
        "CREATE TABLE passed(node INTEGER NOT NULL, origin TEXT NOT NULL, at REAL NOT NULL, cs INTEGER NOT NULL, "
        "idx INTEGER NOT NULL, PRIMARY KEY(origin, node)) WITHOUT ROWID"
    )


@FOLDER
def m005_doubts(db: Executes) -> None:
    """Files whose bytes changed under an unchanged stat, with what the last look saw; and what has rotted here."""
    db.execute("CREATE TABLE doubt(node INTEGER PRIMARY KEY, digest BLOB NOT NULL, looked REAL NOT NULL, since REAL)")
    db.execute("CREATE TABLE rot(id INTEGER PRIMARY KEY, node INTEGER, path BLOB, found REAL NOT NULL, size INTEGER)")


@FOLDER
def m006_approvals(db: Executes) -> None:
    """Which changesets were approved, by which; and nodes that a person here has let pass, since when."""
    db.execute("CREATE TABLE approval(hash BLOB NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY(hash, seq)) WITHOUT ROWID")
    db.execute("CREATE TABLE passing(node INTEGER PRIMARY KEY, at REAL NOT NULL)")


@FOLDER
def m007_renames_that_passed(db: Executes) -> None:
    """Where stood what passed shortly before a wave: a no brings names back as well."""
    db.execute("ALTER TABLE passed ADD COLUMN p_cs INTEGER")
    db.execute("ALTER TABLE passed ADD COLUMN p_idx INTEGER")


@FOLDER
def m008_odd_for_a_time(db: Executes) -> None:
    """Of the nodes that were ever odd, those that are not any more."""
    db.execute("ALTER TABLE odd ADD COLUMN settled INTEGER NOT NULL DEFAULT 0")
    db.execute("CREATE INDEX odd_now ON odd(node) WHERE settled=0")


@FOLDER
def m009_copies(db: Executes) -> None:
    """Who proved when to hold which block; and until when we promised others to keep one."""
    db.execute("CREATE TABLE proof(cid BLOB, device BLOB, at REAL NOT NULL, PRIMARY KEY(cid, device)) WITHOUT ROWID")
    db.execute("CREATE TABLE hold(pid BLOB PRIMARY KEY, made REAL NOT NULL, until REAL NOT NULL) WITHOUT ROWID")


@FOLDER
def m010_apart(db: Executes) -> None:
    """How much is kept of each author without counting, always as the rows say; and when more was left out."""
    db.execute(
        "CREATE TABLE apart(author INTEGER PRIMARY KEY, changesets INTEGER NOT NULL DEFAULT 0, "
        "bytes INTEGER NOT NULL DEFAULT 0, left_out INTEGER)"
    )
    db.execute(
        "INSERT INTO apart(author, changesets, bytes) "
        "SELECT author, count(*), sum(length(head)+length(body)) FROM changeset WHERE state=2 GROUP BY author"
    )
    more = (
        "BEGIN INSERT INTO apart(author, changesets, bytes) VALUES (new.author, 1, length(new.head)+length(new.body)) "
        "ON CONFLICT(author) DO UPDATE SET changesets=changesets+1, bytes=bytes+excluded.bytes; END"
    )
    less = (
        "BEGIN UPDATE apart SET changesets=changesets-1, bytes=bytes-length(old.head)-length(old.body) "
        "WHERE author=old.author; END"
    )
    db.execute(f"CREATE TRIGGER apart_new AFTER INSERT ON changeset WHEN new.state=2 {more}")
    db.execute(f"CREATE TRIGGER apart_more AFTER UPDATE OF state ON changeset WHEN new.state=2 AND old.state<>2 {more}")
    db.execute(f"CREATE TRIGGER apart_less AFTER UPDATE OF state ON changeset WHEN old.state=2 AND new.state<>2 {less}")


@FOLDER
def m011_extended_attributes(db: Executes) -> None:
    """The extended attributes that stand on this disk, as far as they came from others or were told to them."""
    db.execute("ALTER TABLE node ADD COLUMN l_xattrs BLOB")


@FOLDER
def m012_unlisted(db: Executes) -> None:
    """Finds large files that are known by other names than Global's: see `store.unlisted`."""
    db.execute("CREATE INDEX node_unlisted ON node(id) WHERE listed=1 AND l_blocks IS NOT NULL AND pending=0")


@FOLDER
def m013_renames_that_wait(db: Executes) -> None:
    """Of what waits, what people have renamed, and whose rows say where it stands by now."""
    db.execute("ALTER TABLE held_node ADD COLUMN moved INTEGER NOT NULL DEFAULT 0")


@FOLDER
def m014_lacked(db: Executes) -> None:
    """Of a content that nobody had, the name of a block of it that nobody had: whoever has that may have all."""
    db.execute("ALTER TABLE problem ADD COLUMN lacks BLOB")


@FOLDER
def m015_came(db: Executes) -> None:
    """By when, on this device's clock, the changesets up to a number had come: see `store.moments`. Of those that are
    here nobody knows."""
    db.execute("CREATE TABLE came(seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL)")
    db.execute("INSERT INTO came SELECT seq, 0 FROM changeset ORDER BY seq DESC LIMIT 1")


@FOLDER
def m016_passed_again(db: Executes) -> None:
    """What passed several times before a wave, with what stood there each time."""
    db.execute("ALTER TABLE passed RENAME TO passed_once")
    db.execute(
        "CREATE TABLE passed(node INTEGER NOT NULL, origin TEXT NOT NULL, at REAL NOT NULL, cs INTEGER NOT NULL, "
        "idx INTEGER NOT NULL, p_cs INTEGER, p_idx INTEGER, PRIMARY KEY(origin, node, at)) WITHOUT ROWID"
    )
    db.execute("INSERT INTO passed SELECT node, origin, at, cs, idx, p_cs, p_idx FROM passed_once")
    db.execute("DROP TABLE passed_once")


@DEVICE
def m001_first_device(db: Executes) -> None:
    """The tables as of the first version."""
    _run(db, DEVICE_TABLES)


@DEVICE
def m002_commands(db: Executes) -> None:
    """Commands that were obeyed, so that none works twice; and the audit log."""
    db.execute(
        "CREATE TABLE command(nonce BLOB PRIMARY KEY, signer BLOB NOT NULL, issued_ms INTEGER NOT NULL, "
        "expires_ms INTEGER NOT NULL) WITHOUT ROWID"
    )
    db.execute("CREATE TABLE audit(number INTEGER PRIMARY KEY, raw BLOB NOT NULL)")


@DEVICE
def m003_keepsakes(db: Executes) -> None:
    """What other devices left here, sealed to the recovery key, to find it again on a new machine."""
    db.execute(
        "CREATE TABLE keepsake(folder BLOB NOT NULL, device BLOB NOT NULL, time_ms INTEGER NOT NULL, sealed BLOB NOT "
        "NULL, PRIMARY KEY(folder, device)) WITHOUT ROWID"
    )


@DEVICE
def m004_share_links(db: Executes) -> None:
    """Share links that this device serves: hashes of what opens them, until when, how often they were used."""
    db.execute("CREATE TABLE share_link(id BLOB PRIMARY KEY, folder BLOB NOT NULL, body BLOB NOT NULL) WITHOUT ROWID")


@DEVICE
def m005_begun(db: Executes) -> None:
    """Folders whose database has had its tables: if it is found empty afterwards, it was lost."""
    db.execute("CREATE TABLE begun(folder BLOB PRIMARY KEY) WITHOUT ROWID")


def _run(db: Executes, script: str) -> None:
    # One statement at a time: executescript would commit what the migration's transaction holds.
    statement = ""
    for line in script.splitlines():
        if line.startswith("--"):
            continue
        statement += line.split(" -- ")[0] + "\n"
        if line.rstrip().endswith(";"):
            db.execute(statement)
            statement = ""
