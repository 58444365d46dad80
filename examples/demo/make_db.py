#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Make an SQLite database of what this machine knows about Debian packages.

It has tables of the packages that apt can install, how they depend on each other, the files that
are installed, and the words in all that, with indexes: the kind of pages a database has. Needs
python3, and apt's lists ('apt-get update'). Whatever they hold, it is made as large as asked for.
"""

import argparse
import glob
import os
import re
import sqlite3
import subprocess
import sys

PAGE_BYTES = 4096

SCHEMA = """
PRAGMA page_size = 4096;
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;

CREATE TABLE package (
    id INTEGER PRIMARY KEY, name TEXT, version TEXT, architecture TEXT, section TEXT,
    priority TEXT, maintainer TEXT, homepage TEXT, installed_kib INTEGER, bytes INTEGER,
    archive TEXT, sha256 TEXT, summary TEXT);
CREATE UNIQUE INDEX package_by_name ON package (name, version, architecture);
CREATE INDEX package_by_maintainer ON package (maintainer);
CREATE INDEX package_by_checksum ON package (sha256);

CREATE TABLE relation (package INTEGER, kind TEXT, target TEXT, condition TEXT);
CREATE INDEX relation_by_package ON relation (package);
CREATE INDEX relation_by_target ON relation (target, kind);

CREATE TABLE directory (id INTEGER PRIMARY KEY, path TEXT UNIQUE);
CREATE TABLE file (id INTEGER PRIMARY KEY, directory INTEGER, name TEXT, owner TEXT);
CREATE INDEX file_by_name ON file (name);
CREATE INDEX file_by_directory ON file (directory);

CREATE TABLE word (word TEXT, package INTEGER, times INTEGER,
    PRIMARY KEY (word, package)) WITHOUT ROWID;
CREATE TABLE file_part (part TEXT, file INTEGER, PRIMARY KEY (part, file)) WITHOUT ROWID;
"""

RELATIONS = ("Depends", "Pre-Depends", "Recommends", "Suggests", "Breaks", "Conflicts",
             "Replaces", "Provides", "Enhances")


def stanzas():
    """The fields of each package that apt or, without apt, dpkg knows."""
    try:
        text = subprocess.run(["apt-cache", "dumpavail"], check=True, stdout=subprocess.PIPE).stdout
    except (OSError, subprocess.CalledProcessError):
        with open("/var/lib/dpkg/status", "rb") as status:
            text = status.read()
    for stanza in text.decode("utf-8", "replace").split("\n\n"):
        fields = {}
        name = None
        for line in stanza.split("\n"):
            if line.startswith((" ", "\t")):
                if name:
                    fields[name] += "\n" + line[1:]
            elif ":" in line:
                name, value = line.split(":", 1)
                fields[name] = value.strip()
        if "Package" in fields:
            yield fields


def add_files(db):
    """The files of all installed packages, from dpkg's lists."""
    directories = {}
    for name in sorted(glob.glob("/var/lib/dpkg/info/*.list")):
        owner = os.path.basename(name)[:-len(".list")]
        with open(name, encoding="utf-8", errors="replace") as paths:
            for path in paths:
                directory, _, base = path.rstrip("\n").rpartition("/")
                if directory not in directories:
                    directories[directory] = len(directories) + 1
                    db.execute("INSERT INTO directory VALUES (?, ?)",
                               (directories[directory], directory))
                db.execute("INSERT INTO file (directory, name, owner) VALUES (?, ?, ?)",
                           (directories[directory], base, owner))


def add_relations(db, number, fields):
    for kind in RELATIONS:
        for target in re.split(r"[,|]", fields.get(kind, "")):
            match = re.match(r"\s*(\S+)\s*(?:\((.*)\))?", target)
            if match:
                db.execute("INSERT INTO relation VALUES (?, ?, ?, ?)",
                           (number, kind, match[1], match[2]))


def add_words(db, number, fields):
    times = {}
    for word in re.findall(r"[a-z0-9+-]{3,}", " ".join(fields.values()).lower()):
        times[word] = times.get(word, 0) + 1
    db.executemany("INSERT INTO word VALUES (?, ?, ?)",
                   [(word, number, n) for word, n in times.items()])


def add_packages(db, enough):
    """Packages with their relations and words, until it is enough."""
    for number, fields in enumerate(stanzas(), 1):
        db.execute("INSERT OR IGNORE INTO package VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", (
            number, fields["Package"], fields.get("Version"), fields.get("Architecture"),
            fields.get("Section"), fields.get("Priority"), fields.get("Maintainer"),
            fields.get("Homepage"), int(fields.get("Installed-Size", 0)),
            int(fields.get("Size", 0)), fields.get("Filename"), fields.get("SHA256"),
            fields.get("Description")))
        add_relations(db, number, fields)
        add_words(db, number, fields)
        if number % 200 == 0 and enough():
            return


def add_file_parts(db, enough):
    """Every three neighbouring letters of every path, to find files by, until it is enough."""
    paths = db.execute("SELECT file.id, path || '/' || name FROM file, directory "
                       "WHERE directory.id = directory").fetchall()
    for number, path in paths:
        parts = {path[i:i + 3] for i in range(len(path) - 2)}
        db.executemany("INSERT INTO file_part VALUES (?, ?)", [(part, number) for part in parts])
        if number % 2000 == 0 and enough():
            return


def make(path, target_bytes):
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(SCHEMA)

    def size():
        return db.execute("PRAGMA page_count").fetchone()[0] * PAGE_BYTES

    def enough():
        return size() >= target_bytes

    db.execute("BEGIN")
    add_files(db)
    add_packages(db, enough)
    if not enough():
        add_file_parts(db, enough)
    db.execute("COMMIT")
    db.execute("ANALYZE")
    rows = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("package", "relation", "file", "word")}
    db.close()
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", help="the database to make")
    parser.add_argument("--mib", type=int, default=96, help="least size in MiB (default: 96)")
    args = parser.parse_args()
    if not 1 <= args.mib <= 65536:
        parser.error("--mib goes from 1 to 65536")

    partial = args.file + ".partial"
    if os.path.exists(partial):
        os.remove(partial)
    try:
        rows = make(partial, args.mib << 20)
    except (sqlite3.Error, OSError) as error:
        sys.exit(f"make_db.py: {partial}: {error}")
    size = os.path.getsize(partial)
    if size < args.mib << 20:
        os.remove(partial)
        sys.exit(f"make_db.py: only {size >> 20} MiB could be made of this machine's package "
                 f"lists, not {args.mib}: run 'apt-get update', or ask for less with --mib")
    os.replace(partial, args.file)
    print(f"{args.file}: {size / (1 << 20):.1f} MiB, {size // PAGE_BYTES:,} pages; "
          + ", ".join(f"{n:,} {table}s" for table, n in rows.items()))


if __name__ == "__main__":
    main()
