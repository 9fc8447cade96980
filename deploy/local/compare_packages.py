#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares a Debian package index with the export of the keyspace it was imported into.

An independent reading of both: nothing here shares code with the program that imported them.
usage: compare_packages.py PACKAGES EXPORT.jsonl
"""
import hashlib
import json
import sys


def stanzas(path):
    """Yields (key, stanza) for each record: key is Package=Version."""
    with open(path, "rb") as handle:
        for stanza in handle.read().split(b"\n\n"):
            stanza = stanza.strip(b"\n")
            fields = {}
            for line in stanza.split(b"\n"):
                name, colon, value = line.partition(b":")
                if colon and not line.startswith((b" ", b"\t")):
                    fields.setdefault(name.lower(), value.strip())
            if b"package" in fields and b"version" in fields:
                yield fields[b"package"] + b"=" + fields[b"version"], stanza


def exported(path):
    with open(path, encoding="utf-8") as handle:
        for line in handle:
            row = json.loads(line)
            yield row["key"].encode("utf-8", "surrogateescape"), row["value"].encode("utf-8", "surrogateescape")


def digest(rows):
    state = hashlib.sha256()
    for key in sorted(rows):
        state.update(len(key).to_bytes(4, "big") + key + len(rows[key]).to_bytes(4, "big") + rows[key])
    return state.hexdigest()


def main():
    wanted = dict(stanzas(sys.argv[1]))
    got = {}
    for key, value in exported(sys.argv[2]):
        if key in got:
            sys.exit(f"exported twice: {key!r}")
        got[key] = value.rstrip(b"\n")
    print(f"index:  {len(wanted)} keys, sha256 {digest(wanted)}")
    print(f"export: {len(got)} keys, sha256 {digest(got)}")
    for key in wanted:
        if got.get(key) != wanted[key]:
            sys.exit(f"differs: {key!r}")
    if len(got) != len(wanted):
        sys.exit("the export has keys that the index has not")
    print("equal")


if __name__ == "__main__":
    main()
