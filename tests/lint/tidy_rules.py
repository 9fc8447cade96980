#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tidy.py: a clean tree passes, and each rule finds its bad example where it is.

Every case builds a small tree in a temporary directory: the clean one with some files changed.
"""

import os
import shutil
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import tidy  # noqa: E402  (it lies beside this file)

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"


def header(name, body="", paragraphs=("Invariants: none.", "Ownership:  none.", "Thread:     any.",
                                      "See:        README.md")):
    return SPDX + "// %s - an example.\n" % name + \
        "".join("// %s\n" % p for p in paragraphs) + "#pragma once\n" + body


def c_file(body):
    return SPDX + body


def long_function(lines):
    return "static int raft_sum(int a) {\n" + "    a++;\n" * (lines - 3) + "    return a;\n}\n"


GOOD_C = c_file('''#include "dataplane/raft/raft.h"

#include "dataplane/base/mark.h"

#include <string.h>

/* strcpy(a, b); if (x) y(); is only a comment */
typedef enum status *(*raft_apply_fn)(void *ctx, struct slice entry);

int raft_step(struct raft *self, int a) {
    const char *text = "strcpy(a, b) // not a comment";
    if (a > 0) { return 1; }
    do {
        a++;
    } while (a < 0);
    for (;;) {
        if (a > 9) {
            break;
        } else if (a > 5) {
            a = 6;
        } else {
            a++;
        }
    }
    MARK("raft.step.taken");
    self->ops->free(self->ctx);
    return (int)strlen(text);
}
''')

CLEAN = {
    "WORKSPACE": "",
    "BUILD": "",
    "README.md": "# Example\n",
    "dataplane/base/BUILD": 'lib(hdrs = ["mark.h"], srcs = ["mem.c"])\n',
    "dataplane/base/README.md": "# base\n",
    "dataplane/base/mark.h": header("mark.h", '''
#define MARK(text)      \\
    do {                \\
        mark_hit(text); \\
    } while (0)
'''),
    "dataplane/base/mem.c": c_file("#include <stdlib.h>\n\nvoid *mem_alloc(size_t size) {\n"
                                   "    return calloc(1, size);\n}\n"),
    "dataplane/raft/BUILD": 'lib(srcs = ["raft.c"], hdrs = ["raft.h"])\n',
    "dataplane/raft/README.md": "# raft\n",
    "dataplane/raft/raft.h": header("raft.h", "\nstruct raft;\nint raft_step(struct raft *self, "
                                    "int a);\n"),
    "dataplane/raft/raft.c": GOOD_C,
    "tests/unit/README.md": "# unit\n",
    "tests/unit/dataplane/raft/BUILD": 'test(srcs = ["raft_test.c"])\n',
    "tests/unit/dataplane/raft/raft_test.c": c_file('''#include "dataplane/raft/raft.h"

#include <stdarg.h>

#include <cmocka.h>

static void test_raft_step(void **state) {
    assert_int_equal(mark_count("raft.step.taken"), 1);
}
'''),
}

RAFT_C = "dataplane/raft/raft.c"
RAFT_H = "dataplane/raft/raft.h"
TEST_C = "tests/unit/dataplane/raft/raft_test.c"
NO_MARK = {TEST_C: c_file("static const char *claims[] = {\"raft.step.taken\"};\n")}


def added(line):
    """raft.c with one more line, which is line 2."""
    return {RAFT_C: SPDX + line + "\n" + GOOD_C[len(SPDX):]}


# (name, changed files, [(path, line, rule)] wanted; other rules must stay silent)
BAD = [
    ("top_level_stray", {"notes.txt": ""}, [("notes.txt", 1, "top-level")]),
    ("c_outside_layers", {"deploy/x.c": c_file("")}, [("deploy/x.c", 1, "top-level")]),
    ("c_without_spdx", {RAFT_C: "//\n" + GOOD_C[len(SPDX):]}, [(RAFT_C, 1, "header")]),
    ("header_without_title", {RAFT_H: header("other.h")}, [(RAFT_H, 2, "header")]),
    ("header_without_thread",
     {RAFT_H: header("raft.h", "", ("Invariants: a.", "Ownership: b.", "See: c."))},
     [(RAFT_H, 5, "header")]),
    ("header_out_of_order",
     {RAFT_H: header("raft.h", "", ("Ownership: b.", "Invariants: a.", "Thread: t.", "See: c."))},
     [(RAFT_H, 5, "header")]),
    ("header_paragraph_empty",
     {RAFT_H: header("raft.h", "", ("Invariants:", "Ownership: b.", "Thread: t.", "See: c."))},
     [(RAFT_H, 3, "header")]),
    ("layer_above",
     {**added('#include "storage/mvcc/mvcc.h"'), "storage/mvcc/mvcc.h": header("mvcc.h"),
      "storage/mvcc/BUILD": '"mvcc.h"', "storage/mvcc/README.md": ""},
     [(RAFT_C, 2, "layers")]),
    ("layer_inside_dataplane",
     {"dataplane/base/mem.c": c_file('#include "dataplane/raft/raft.h"\n'), **NO_MARK},
     [("dataplane/base/mem.c", 2, "layers"), ("dataplane/base/mem.c", 2, "cycle")]),
    ("layer_unknown_package",
     {"dataplane/extra/extra.c": c_file('#include "dataplane/base/mark.h"\n'),
      "dataplane/extra/BUILD": '"extra.c"', "dataplane/extra/README.md": ""},
     [("dataplane/extra/extra.c", 2, "layers")]),
    ("layer_tests_imported",
     {**added('#include "tests/lib/fake.h"'), "tests/lib/fake.h": header("fake.h"),
      "tests/lib/BUILD": '"fake.h"', "tests/lib/README.md": ""},
     [(RAFT_C, 2, "layers")]),
    ("cycle_in_one_layer",
     {"txn/a/a.h": header("a.h", '#include "txn/b/b.h"\n'), "txn/a/BUILD": '"a.h"',
      "txn/a/README.md": "", "txn/b/BUILD": '"b.h"', "txn/b/README.md": "",
      "txn/b/b.h": header("b.h", '#include "txn/a/a.h"\n')},
     [("txn/a/a.h", 8, "cycle")]),
    ("sans_io_clock", added("#include <time.h>"), [(RAFT_C, 2, "sans-io")]),
    ("sans_io_loop",
     {"txn/lock/lock.c": c_file('#include "dataplane/loop/loop.h"\n'),
      "txn/lock/BUILD": '"lock.c"', "txn/lock/README.md": "",
      "dataplane/loop/loop.h": header("loop.h"), "dataplane/loop/BUILD": '"loop.h"',
      "dataplane/loop/README.md": ""},
     [("txn/lock/lock.c", 2, "sans-io")]),
    ("third_party_rocksdb", added("#include <rocksdb/c.h>"), [(RAFT_C, 2, "third-party")]),
    ("third_party_grpc", added("#include <grpc/grpc.h>"), [(RAFT_C, 2, "third-party")]),
    ("third_party_uv",
     {"dataplane/base/mem.c": c_file("#include <uv.h>\n")},
     [("dataplane/base/mem.c", 2, "third-party")]),
    ("include_relative", added('#include "raft.h"'), [(RAFT_C, 2, "include-path")]),
    ("include_absent", added('#include "dataplane/base/none.h"'), [(RAFT_C, 2, "include-path")]),
    ("include_angle", added("#include <dataplane/base/mark.h>"), [(RAFT_C, 2, "include-path")]),
    ("include_generated_without_source",
     {"api/rpc/x.c": c_file('#include "api/proto/none.pb-c.h"\n'), "api/rpc/BUILD": '"x.c"',
      "api/rpc/README.md": ""},
     [("api/rpc/x.c", 2, "include-path")]),
    ("function_too_long", added(long_function(71)), [(RAFT_C, 2, "function-length")]),
    ("parameters_definition",
     added("int f(int a, int b, int c,\n      int (*d)(int, int), int e, int g) {\n"
           "    return a;\n}"),
     [(RAFT_C, 2, "parameters")]),
    ("parameters_declaration",
     {RAFT_H: header("raft.h", "NODISCARD enum status f(int a, int b, int c, int d, int e, int g)"
                     " __attribute__((cold));\n")},
     [(RAFT_H, 8, "parameters")]),
    ("c_too_long", added("\n" * 800), [(RAFT_C, 801, "file-length")]),
    ("h_too_long", {RAFT_H: header("raft.h", "\n" * 400)}, [(RAFT_H, 401, "file-length")]),
    ("line_too_long", added("//" + "x" * 99), [(RAFT_C, 2, "line-length")]),
    ("allocation", added("void f(void) {\n    free(0);\n}"), [(RAFT_C, 3, "allocation")]),
    ("typedef_struct", added("typedef struct raft raft;"), [(RAFT_C, 2, "typedef")]),
    ("typedef_with_body", added("typedef struct {\n    int a;\n} raft;"),
     [(RAFT_C, 2, "typedef")]),
    ("typedef_fn_t", added("typedef int (*raft_fn_t)(int);"), [(RAFT_C, 2, "type-name")]),
    ("struct_t", added("struct raft_t {\n    int a;\n};"), [(RAFT_C, 2, "type-name")]),
    ("if_without_braces", added("int f(int a) {\n    if (a)\n        return 1;\n"
                                "    return 0;\n}"), [(RAFT_C, 3, "braces")]),
    ("else_without_braces", added("int f(int a) {\n    if (a) { a++; } else\n        a--;\n"
                                  "    return a;\n}"), [(RAFT_C, 3, "braces")]),
    ("while_without_body", added("int f(int a) {\n    while (a--)\n        ;\n    return a;\n}"),
     [(RAFT_C, 3, "braces")]),
    ("in_no_build", {"dataplane/raft/lost.c": c_file("")},
     [("dataplane/raft/lost.c", 1, "build")]),
    ("build_comment_does_not_count",
     {"dataplane/raft/lost.c": c_file(""),
      "dataplane/raft/BUILD": CLEAN["dataplane/raft/BUILD"] + '# "lost.c"\n'},
     [("dataplane/raft/lost.c", 1, "build")]),
    ("no_build_at_all", {"storage/x/x.c": c_file(""), "storage/x/README.md": ""},
     [("storage/x/x.c", 1, "build")]),
    ("no_readme", {"storage/x/x.c": c_file(""), "storage/x/BUILD": '"x.c"'},
     [("storage/x", 1, "readme")]),
    ("mark_unclaimed", added("void f(void) {\n    MARK(\"raft.lonely\");\n}"),
     [(RAFT_C, 3, "mark")]),
    ("format", added("int   f(void);"), [(RAFT_C, 2, "format")]),
    ("excuse_without_reason", added("typedef int raft_int;  // lint: allow typedef:"),
     [(RAFT_C, 2, "typedef")]),
    ("excuse_of_other_rule", added("typedef int raft_int;  // lint: allow braces: because"),
     [(RAFT_C, 2, "typedef")]),
] + [
    ("banned_" + name, added("void f(void) {\n    %s(a);\n}" % name),
     [(RAFT_C, 3, "banned-call")]) for name in sorted(tidy.BANNED)
] + [
    ("unfinished_" + word.lower(), added("// %s: later" % word), [(RAFT_C, 2, "unfinished")])
    for word in ("TODO", "FIXME", "XXX")
]

GOOD = [
    ("clean_tree", {}),
    ("function_of_70_lines", added(long_function(70))),
    ("five_parameters_and_dots", added("int f(int a, int b, int c, int d, int e, ...);")),
    ("generated_header",
     {"api/rpc/x.c": c_file('#include "api/proto/a.pb-c.h"\n#include "api/proto/a.descriptor.h"\n'),
      "api/rpc/BUILD": '"x.c"', "api/rpc/README.md": "", "api/proto/a.proto": ""}),
    ("rocksdb_at_home",
     {"storage/engine/e.c": c_file("#include <rocksdb/c.h>\n"), "storage/engine/BUILD": '"e.c"',
      "storage/engine/README.md": ""}),
    ("excused_on_the_line", added("typedef int raft_int;  // lint: allow typedef: a C library's")),
    ("excused_above", added("// lint: allow typedef: a C library's\ntypedef int raft_int;")),
    ("preprocessor_if", added("#if 1\n#else\n#endif\n")),
    ("macro_with_braces", added("#define F(a)        \\\n    if (a) {        \\\n"
                                "        puts(\"\"); \\\n    }\n")),
]

# A case says what it wants of the other rules by leaving the format alone: examples are written
# to be short, so only the cases named here run clang-format.
FORMATTED = {"clean_tree", "format", "excused_on_the_line"}


def run_case(name, changes):
    root = tempfile.mkdtemp(prefix="tidy-")
    try:
        for path, text in {**CLEAN, **changes}.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
        style = os.path.join(HERE, "..", "..", ".clang-format")
        if not os.path.exists(style):
            raise AssertionError("no .clang-format beside the test")
        shutil.copy(style, os.path.join(root, ".clang-format"))
        return [f[:3] for f in tidy.Tidy(root, check_format=name in FORMATTED).run()]
    finally:
        shutil.rmtree(root)


def check(name, changes, wanted):
    found = run_case(name, changes)
    if name == "format" and shutil.which("clang-format-14") is None:
        print("WARNING: clang-format-14 is not installed; the case `format` proves nothing")
        return
    if sorted(found) != sorted(wanted):
        raise AssertionError("wanted %s\nfound  %s" % (sorted(wanted), sorted(found)))


def test_every_rule_has_an_example():
    """A rule without a bad example is a rule nobody knows to work."""
    with open(os.path.join(HERE, "tidy.py"), encoding="utf-8") as file:
        text = file.read()
    rules = set(tidy.re.findall(r'self\.report\([^"]*?"([a-z-]+)"', text))
    shown = {rule for _, _, wanted in BAD for _, _, rule in wanted}
    if rules != shown:
        raise AssertionError("rules %s, examples %s" % (sorted(rules), sorted(shown)))


def test_command_line_reports_file_line_and_rule():
    root = tempfile.mkdtemp(prefix="tidy-")
    try:
        with open(os.path.join(root, "stray"), "w", encoding="utf-8"):
            pass
        done = tidy.subprocess.run([sys.executable, os.path.join(HERE, "tidy.py"), root],
                                   stdout=tidy.subprocess.PIPE, text=True, check=False)
        if done.returncode != 1 or "stray:1: [top-level] " not in done.stdout:
            raise AssertionError(done.stdout)
    finally:
        shutil.rmtree(root)


def main():
    cases = [("test_tidy_passes_" + n, lambda n=n, c=c: check(n, c, [])) for n, c in GOOD]
    cases += [("test_tidy_flags_" + n, lambda n=n, c=c, w=w: check(n, c, w)) for n, c, w in BAD]
    cases += [(f.__name__, f) for f in (test_every_rule_has_an_example,
                                        test_command_line_reports_file_line_and_rule)]
    failed = 0
    for name, body in cases:
        print("[ RUN      ] " + name)
        try:
            body()
            print("[       OK ] " + name)
        except Exception:  # a case must not hide the ones after it
            traceback.print_exc(file=sys.stdout)
            print("[  FAILED  ] " + name)
            failed += 1
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
