#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the short table at the end of the quickstart, from what its steps wrote.

usage: figures.py STATE_DIR TOTAL_MS
"""
import json
import pathlib
import sys


def milliseconds(ns):
    return f"{ns / 1e6:,.1f} ms" if ns < 1e8 else f"{ns / 1e6:,.0f} ms"


def main():
    state = pathlib.Path(sys.argv[1])
    imported, bench, verified = (json.loads((state / f"{name}.json").read_text(encoding="utf-8"))
                                 for name in ("import", "bench", "verify"))
    rows = [
        ("package records imported, read back, equal", f"{imported['keys']:,}"),
        ("  bytes of keys and values", f"{imported['bytes']:,}"),
        ("  synced commits on three replicas", f"{imported['rows_per_second']:,.0f} /s"),
        ("writes acknowledged while a leader died", f"{verified['writes']:,}"),
        ("  of them lost", f"{verified['missing'] + verified['different']:,}"),
        ("  with an unknown outcome", f"{bench['unknown']:,}"),
        ("  median, 99th percentile", f"{milliseconds(bench['put']['p50_ns'])}, {milliseconds(bench['put']['p99_ns'])}"),
        ("  longest pause that the writer saw", milliseconds(bench["longest_pause_ns"])),
        ("everything after the build", f"{int(sys.argv[2]) / 1000:.1f} s"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"  {name:<{width}}  {value:>18}")


if __name__ == "__main__":
    main()
