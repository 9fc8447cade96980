#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts what the tests really did, from Bazel's event file and the logs it points to.

usage: count_results.py BAZEL_STATUS EVENTS_JSON [AREA:STATUS:LOG ...]

A cmocka program counts by its cases, any other test counts as one. A test that never ran (it did
not build, it timed out before it wrote anything) is one failure. A suite outside Bazel says
"N passed, N failed" in its last line. The exit code is 0 only when nothing failed and something
ran and Bazel itself was content.
"""

import json
import os
import re
import sys
import urllib.parse

CASE_OK = re.compile(r"^\[ +OK \] (\S+)", re.M)
CASE_FAILED = re.compile(r"^\[  (?:FAILED|ERROR )  \] (\w+)$", re.M)
SUITE_LINE = re.compile(r"^(\d+) passed, (\d+) failed$")
NO_TESTS_FOUND = 4  # bazel's exit code for "built, but there is nothing to test"


def count_log(text, passed_by_exit_code):
    """(passed, failed) of one log; never (0, 0)."""
    good = len(CASE_OK.findall(text))
    bad = len(set(CASE_FAILED.findall(text)))
    if passed_by_exit_code:
        return (good, bad) if good + bad > 0 else (1, 0)
    return good, max(bad, 1)


def read_uri(uri):
    path = urllib.parse.unquote(urllib.parse.urlparse(uri).path)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def is_test(kind):
    return kind.endswith("_test rule") or kind == "test_suite rule"


def read_events(path):
    """The tests that were asked for, and the outcome of each run of each of them."""
    wanted, runs = {}, {}
    if not os.path.exists(path):
        return wanted, runs
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # the last line of an interrupted run
            ident = event.get("id", {})
            if "targetConfigured" in ident and "configured" in event:
                if is_test(event["configured"].get("targetKind", "")):
                    wanted[ident["targetConfigured"]["label"]] = True
            # A test that was built but not run was left out by a tag filter.
            if event.get("completed", {}).get("success"):
                wanted.pop(ident["targetCompleted"]["label"], None)
            if "testResult" in ident and "testResult" in event:
                key = ident["testResult"]
                place = (key.get("run", 0), key.get("shard", 0))
                # A later attempt of the same run replaces an earlier one.
                runs.setdefault(key["label"], {})[place] = event["testResult"]
    return wanted, runs


def count_bazel(path):
    passed, failed, broken = 0, 0, []
    wanted, runs = read_events(path)
    for label in sorted(set(wanted) | set(runs)):
        results = runs.get(label)
        if not results:
            failed += 1
            broken.append(label + "  did not run")
            continue
        target_failed = 0
        for result in results.values():
            text = "".join(read_uri(output.get("uri", ""))
                           for output in result.get("testActionOutput", [])
                           if output.get("name") == "test.log")
            good, bad = count_log(text, result.get("status") == "PASSED")
            passed += good
            target_failed += bad
        failed += target_failed
        if target_failed:
            broken.append("%s  %d failed" % (label, target_failed))
    return passed, failed, broken, len(runs)


def count_suite(spec):
    area, status, log = spec.split(":", 2)
    with open(log, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    match = SUITE_LINE.match(lines[-1]) if lines else None
    good, bad = (int(match.group(1)), int(match.group(2))) if match else (0, 0)
    if (status != "0" or not match) and bad == 0:
        bad = 1
    return good, bad, ["tests/%s/run  %d failed" % (area, bad)] if bad else []


def main():
    bazel_status, events = int(sys.argv[1]), sys.argv[2]
    passed, failed, broken, targets = count_bazel(events)
    for spec in sys.argv[3:]:
        good, bad, names = count_suite(spec)
        passed, failed, broken = passed + good, failed + bad, broken + names
    if bazel_status not in (0, NO_TESTS_FOUND) and failed == 0:
        failed += 1
        broken.append("bazel  exit code %d" % bazel_status)
    if passed + failed == 0:
        failed += 1
        broken.append("no test ran")
    print("deploy/test: %d test programs" % targets)
    for line in broken:
        print("FAILED  " + line)
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
