#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of deploy/count_results.py: what counts as passed, and that nothing failed can hide."""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.join(HERE, "..", "..", "deploy", "count_results.py")


def configured(label):
    return {"id": {"targetConfigured": {"label": label}},
            "configured": {"targetKind": "cc_test rule"}}


def completed(label):
    return {"id": {"targetCompleted": {"label": label}}, "completed": {"success": True}}


def result(label, status, log):
    return {"id": {"testResult": {"label": label, "run": 1}},
            "testResult": {"status": status,
                           "testActionOutput": [{"name": "test.log", "uri": "file://" + log}]}}


OK_LOG = "[ RUN      ] a\n[       OK ] a\n[ RUN      ] b\n[       OK ] b\n"
BAD_LOG = ("[       OK ] a\n[  FAILED  ] b\n[==========] 2 test(s) run.\n"
           "[  PASSED  ] 1 test(s).\n[  FAILED  ] tests: 1 test(s), listed below:\n"
           "[  FAILED  ] b\n\n 1 FAILED TEST(S)\n")

# (name, bazel status, [(label, status or None or "filtered", log)], suites, wanted line)
CASES = [
    ("cases_of_a_program", 0, [("//a", "PASSED", OK_LOG)], [], "2 passed, 0 failed"),
    ("other_test_is_one", 0, [("//a", "PASSED", "fine\n")], [], "1 passed, 0 failed"),
    ("failed_case", 3, [("//a", "FAILED", BAD_LOG)], [], "1 passed, 1 failed"),
    ("crash_is_a_failure", 3, [("//a", "FAILED", OK_LOG)], [], "2 passed, 1 failed"),
    ("failure_that_exits_0", 0, [("//a", "PASSED", BAD_LOG)], [], "1 passed, 1 failed"),
    ("did_not_build", 1, [("//a", None, "")], [], "0 passed, 1 failed"),
    ("left_out_by_filter", 0, [("//a", "filtered", ""), ("//b", "PASSED", "")], [],
     "1 passed, 0 failed"),
    ("bazel_failed_before_tests", 1, [], [], "0 passed, 1 failed"),
    ("nothing_ran", 4, [], [], "0 passed, 1 failed"),
    ("suite_adds_up", 0, [("//a", "PASSED", OK_LOG)], [("0", "x\n7 passed, 0 failed\n")],
     "9 passed, 0 failed"),
    ("suite_without_summary", 0, [("//a", "PASSED", OK_LOG)], [("0", "x\n")],
     "2 passed, 1 failed"),
    ("suite_that_exits_1", 0, [], [("1", "3 passed, 0 failed\n")], "3 passed, 1 failed"),
]


def run_case(case):
    _, status, tests, suites, wanted = case
    with tempfile.TemporaryDirectory() as here:
        events = os.path.join(here, "events.json")
        with open(events, "w", encoding="utf-8") as file:
            for number, (label, outcome, text) in enumerate(tests):
                rows = [configured(label)]
                if outcome == "filtered":
                    rows.append(completed(label))
                elif outcome:
                    log = os.path.join(here, "log%d" % number)
                    with open(log, "w", encoding="utf-8") as log_file:
                        log_file.write(text)
                    rows += [completed(label), result(label, outcome, log)]
                file.write("".join(json.dumps(row) + "\n" for row in rows))
        specs = []
        for number, (code, text) in enumerate(suites):
            log = os.path.join(here, "suite%d" % number)
            with open(log, "w", encoding="utf-8") as log_file:
                log_file.write(text)
            specs.append("area%d:%s:%s" % (number, code, log))
        done = subprocess.run([sys.executable, PROGRAM, str(status), events] + specs,
                              stdout=subprocess.PIPE, text=True, check=False)
    last = done.stdout.strip().split("\n")[-1]
    return last == wanted and (done.returncode == 0) == wanted.endswith(" 0 failed"), done.stdout


def main():
    failed = 0
    for case in CASES:
        good, output = run_case(case)
        print("[%s] test_count_%s" % ("       OK " if good else "  FAILED  ", case[0]))
        if not good:
            failed += 1
            print(output)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
