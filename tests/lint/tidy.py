#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The lint of the tree: what docs and style demand and a machine can check.

usage: tidy.py ROOT [--no-format]

Every finding is one line, `path:line: [rule] text`; the exit code is 1 when there is any. A line
may be excused, with a reason, by a comment on it or on the line before:

    // lint: allow <rule>: <why>

README.md in this directory lists the rules.
"""

import os
import re
import shutil
import subprocess
import sys

# --------------------------------------------------------------------------- the tables

TOP_LEVEL = {"WORKSPACE", "BUILD", "controlplane", "dataplane", "txn", "storage", "api", "tests",
             "deploy", "docs", "README.md", "LICENSE"}

# A file may include from its own layer and from those before it; tests may include everything.
LAYERS = ["dataplane", "storage", "txn", "controlplane", "api"]

# Inside dataplane: package -> what it may include there, besides itself.
_VALUES = {"base", "obs", "hlc", "codec", "shard", "port"}
DATAPLANE = {
    "base": set(),
    "obs": {"base"},
    "hlc": {"base", "obs", "codec"},
    "codec": {"base", "obs", "hlc"},
    "shard": _VALUES - {"port"},
    "port": _VALUES,
    "support": _VALUES,
    "raft": _VALUES | {"support"},
    "replica": _VALUES | {"support", "raft"},
    "loop": _VALUES,
    "transport": _VALUES | {"loop"},
}

# Deterministic state machines: no thread, clock, socket or file in there.
SANS_IO = ["dataplane/hlc", "dataplane/codec", "dataplane/shard", "dataplane/port",
           "dataplane/support", "dataplane/raft", "dataplane/replica", "storage/mvcc", "txn",
           "controlplane"]
SANS_IO_FORBIDDEN = re.compile(
    r"^(<(pthread|threads|time|sys/time|sys/socket|sys/random|unistd|fcntl|poll|netdb|uv)\.h>"
    r"|\"dataplane/(loop|transport)/.*\")$")

# Third-party headers: prefix of the header -> where it may be included.
THIRD_PARTY = [
    ("uv.h", ["dataplane/loop", "dataplane/transport", "api/node", "tests"]),
    ("rocksdb/", ["storage/engine", "tests/unit/storage/engine"]),
    ("grpc/", ["api/rpc", "api/client", "tests/bench", "tests/unit/api"]),
    ("jemalloc/", ["dataplane/base"]),
    ("openssl/", ["dataplane/transport", "api", "tests"]),
    ("microhttpd.h", ["api/http"]),
    ("curl/", ["api", "tests"]),
    ("librdkafka/", ["api", "tests"]),
    ("histedit.h", ["api/cli"]),
    ("popt.h", ["api/cli", "api/daemon", "tests"]),
    ("cmocka.h", ["tests"]),
]

FUNCTION_LINES_MAX = 70
PARAMETERS_MAX = 5
C_LINES_MAX = 800
H_LINES_MAX = 400
COLUMNS_MAX = 100

BANNED = {
    "strcpy": "no bound; use snprintf or memcpy with a checked size",
    "strcat": "no bound; use snprintf",
    "sprintf": "no bound; use snprintf",
    "vsprintf": "no bound; use vsnprintf",
    "strtok": "hidden state; use strtok_r or a reader",
    "gmtime": "static result; use gmtime_r",
    "localtime": "static result; use localtime_r",
    "rand": "not seeded by us; random bits come in the event",
    "srand": "global state; use dataplane/base/prng.h",
    "gets": "no bound",
    "atoi": "no error; use strtol with all its checks",
    "alloca": "the stack has no status to return",
}
ALLOCATION = {"malloc", "calloc", "realloc", "free"}
ALLOCATION_HOME = "dataplane/base/mem.c"

# Headers that the build makes: suffix -> suffix of the source beside it (None: any).
GENERATED = {".pb-c.h": ".proto", ".descriptor.h": None}

PARAGRAPHS = ["Invariants:", "Ownership:", "Thread:", "See:"]

CODE_ROOTS = LAYERS + ["tests"]
TEXT_SUFFIXES = (".c", ".h", ".py", ".sh", ".bzl", ".proto", ".js", ".ts", ".yaml", ".yml")
SKIPPED_DIRS = {"node_modules", "__pycache__"}
SELF = "tests/lint/"

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")
ALLOW = re.compile(r"(?://|#)\s*lint: allow ([a-z-]+): \S")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*("[^"\n]*"|<[^>\n]*>)', re.M)
MARK = re.compile(r'\bMARK\(\s*"([^"\n]+)"')
TOKEN = re.compile(r'[A-Za-z_]\w*|\.\.\.|[0-9][\w.]*|"|\'|\S')
IDENTIFIER = re.compile(r"[A-Za-z_]\w*$")


# --------------------------------------------------------------------------- reading C

def blank(text):
    """Spaces for everything but line ends, so that offsets and lines stay."""
    return re.sub(r"[^\n]", " ", text)


LEXEME = re.compile(
    r"//(?:\\\n|[^\n])*|/\*.*?(?:\*/|\Z)"
    r'|"(?:\\.|[^"\\\n])*"?|\'(?:\\.|[^\'\\\n])*\'?', re.S)


def strip(text, keep_strings):
    """The text without comments and, unless kept, without the inside of strings."""
    def replace(match):
        lexeme = match.group(0)
        if lexeme.startswith("/"):
            return blank(lexeme)
        if keep_strings or len(lexeme) < 2:
            return lexeme
        return lexeme[0] + blank(lexeme[1:-1]) + lexeme[-1]
    return LEXEME.sub(replace, text)


def without_directives(code):
    return re.sub(r"^[ \t]*#(?:\\\n|[^\n])*", lambda m: blank(m.group(0)), code, flags=re.M)


class Source:
    """One C file in the forms that the rules want."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.lines = text.split("\n")
        if self.lines and self.lines[-1] == "":
            self.lines.pop()
        self.strings = strip(text, keep_strings=True)
        self.code = strip(text, keep_strings=False)
        self.plain = without_directives(self.code)
        self.starts = [0] + [m.end() for m in re.finditer("\n", text)]

    def line_of(self, offset):
        low, high = 0, len(self.starts)
        while high - low > 1:
            middle = (low + high) // 2
            if self.starts[middle] <= offset:
                low = middle
            else:
                high = middle
        return low + 1

    def includes(self):
        for match in INCLUDE.finditer(self.strings):
            yield self.line_of(match.start(1)), match.group(1)


class Function:
    def __init__(self, name, line, parameters, line_end):
        self.name = name
        self.line = line
        self.parameters = parameters
        self.line_end = line_end  # None for a declaration


def count_parameters(tokens):
    """Of the tokens between a function's parentheses; the dots of a variadic one are free."""
    if not tokens or [t for t, _ in tokens] == ["void"]:
        return 0
    count, depth = 1, 0
    for token, _ in tokens:
        if token in "([{":
            depth += 1
        elif token in ")]}":
            depth -= 1
        elif token == "," and depth == 0:
            count += 1
    return count - (1 if tokens[-1][0] == "..." else 0)


def find_signature(tokens):
    """(name, offset, parameters) when the tokens before `{` or `;` declare a function."""
    words = [t for t, _ in tokens]
    if not words or words[0] == "typedef" or "=" in words:
        return None
    found, i = None, 0
    while i < len(words):
        if words[i] != "(":
            i += 1
            continue
        depth, j = 0, i
        while j < len(words):
            depth += {"(": 1, ")": -1}.get(words[j], 0)
            if depth == 0:
                break
            j += 1
        before = words[i - 1] if i > 0 else ""
        attribute = before.startswith("__") or before.upper() == before
        # A name needs a type before it; a macro call alone on its line has none.
        if IDENTIFIER.match(before) and not attribute and i >= 2 and before != "static_assert":
            found = (before, tokens[i - 1][1], count_parameters(tokens[i + 1:j]))
            break
        i = j + 1
    return found


def functions(source):
    """Every function that the file declares or defines at its top level."""
    pending, depth, current = [], 0, None
    for match in TOKEN.finditer(source.plain):
        token, offset = match.group(0), match.start()
        if token == "{":
            if depth == 0:
                current = find_signature(pending)
            depth += 1
        elif token == "}":
            depth = max(depth - 1, 0)
            if depth == 0:
                if current:
                    name, start, count = current
                    yield Function(name, source.line_of(start), count, source.line_of(offset))
                    pending = []
                current = None
        elif depth == 0:
            if token == ";":
                signature = find_signature(pending)
                if signature:
                    name, start, count = signature
                    yield Function(name, source.line_of(start), count, None)
                pending = []
            else:
                pending.append((token, offset))


# --------------------------------------------------------------------------- the lint

class Tidy:
    def __init__(self, root, check_format=True):
        self.root = root
        self.check_format = check_format
        self.findings = set()
        self.files = []
        self.sources = {}

    def read(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as file:
            return file.read()

    def exists(self, path):
        return os.path.isfile(os.path.join(self.root, path))

    def report(self, path, line, rule, text):
        self.findings.add((path, line, rule, text))

    def excused(self, path, line, rule):
        source = self.sources.get(path)
        if source is None:
            return False
        for number in (line, line - 1):
            if 0 < number <= len(source.lines):
                match = ALLOW.search(source.lines[number - 1])
                if match and match.group(1) == rule:
                    return True
        return False

    def collect(self):
        for name in sorted(os.listdir(self.root)):
            if name.startswith((".", "bazel-")):
                continue
            if name not in TOP_LEVEL:
                self.report(name, 1, "top-level", "the top level of the repository is fixed")
            if os.path.isdir(os.path.join(self.root, name)):
                self.collect_directory(name)
            else:
                self.files.append(name)
        for path in self.files:
            if path.endswith((".c", ".h")):
                self.sources[path] = Source(path, self.read(path))

    def collect_directory(self, top):
        for here, directories, names in os.walk(os.path.join(self.root, top)):
            directories[:] = sorted(d for d in directories
                                    if d not in SKIPPED_DIRS and not d.startswith("."))
            for name in sorted(names):
                self.files.append(os.path.relpath(os.path.join(here, name), self.root))

    def run(self):
        self.collect()
        for path, source in self.sources.items():
            if path.split("/")[0] not in CODE_ROOTS:
                self.report(path, 1, "top-level", "C code lives in " + ", ".join(CODE_ROOTS))
                continue
            self.check_head(source)
            self.check_includes(source)
            self.check_sizes(source)
            self.check_calls(source)
            self.check_types(source)
            self.check_braces(source)
            self.check_build(path)
        self.check_unfinished()
        self.check_cycles()
        self.check_readmes()
        self.check_marks()
        if self.check_format:
            self.check_clang_format()
        return sorted(f for f in self.findings if not self.excused(*f[:3]))

    # ------------------------------------------------------------------- one file

    def check_head(self, source):
        lines = source.lines + [""] * 6
        if lines[0] != "// SPDX-License-Identifier: Apache-2.0":
            self.report(source.path, 1, "header",
                        "line 1 is `// SPDX-License-Identifier: Apache-2.0`")
        if not source.path.endswith(".h"):
            return
        name = os.path.basename(source.path)
        if not re.match(r"// %s - \S" % re.escape(name), lines[1]):
            self.report(source.path, 2, "header", "line 2 is `// %s - what it is`" % name)
        at = 2
        for wanted in PARAGRAPHS:
            start = at
            while at < len(lines) and lines[at].startswith("//") and \
                    not lines[at].startswith("// " + wanted):
                at += 1
            if at >= len(lines) or not lines[at].startswith("// " + wanted):
                self.report(source.path, min(start + 1, len(source.lines) or 1), "header",
                            "the paragraph `// %s` is missing or out of order" % wanted)
                at = start
                continue
            if lines[at].strip() == "// " + wanted:
                self.report(source.path, at + 1, "header", "`%s` says nothing" % wanted)
            at += 1

    def check_includes(self, source):
        for line, spec in source.includes():
            header = spec[1:-1]
            if spec[0] == "<":
                self.check_third_party(source.path, line, header)
                if header.split("/")[0] in CODE_ROOTS:
                    self.report(source.path, line, "include-path",
                                'write "%s": our own headers are quoted' % header)
            else:
                self.check_own_include(source.path, line, header)
            if in_any(source.path, SANS_IO) and SANS_IO_FORBIDDEN.match(spec):
                self.report(source.path, line, "sans-io",
                            "%s in a state machine: time, threads and I/O belong to a driver" %
                            spec)

    def check_third_party(self, path, line, header):
        for prefix, places in THIRD_PARTY:
            if header == prefix or (prefix.endswith("/") and header.startswith(prefix)):
                if not in_any(path, places):
                    self.report(path, line, "third-party",
                                "<%s> is only for %s" % (header, ", ".join(places)))

    def check_own_include(self, path, line, header):
        if header.split("/")[0] not in CODE_ROOTS or ".." in header.split("/"):
            self.report(path, line, "include-path",
                        '"%s" is not relative to the workspace' % header)
            return
        if not self.exists(header):
            suffix = next((s for s in GENERATED if header.endswith(s)), None)
            origin = GENERATED.get(suffix)
            if suffix is None or (origin and not self.exists(header[:-len(suffix)] + origin)):
                self.report(path, line, "include-path", '"%s" does not exist' % header)
        reason = forbidden_import(os.path.dirname(path), os.path.dirname(header))
        if reason:
            self.report(path, line, "layers", '"%s": %s' % (header, reason))

    def check_sizes(self, source):
        limit = H_LINES_MAX if source.path.endswith(".h") else C_LINES_MAX
        if len(source.lines) > limit:
            self.report(source.path, limit + 1, "file-length",
                        "%d lines, at most %d" % (len(source.lines), limit))
        for number, text in enumerate(source.lines, 1):
            if len(text) > COLUMNS_MAX:
                self.report(source.path, number, "line-length",
                            "%d columns, at most %d" % (len(text), COLUMNS_MAX))
        for function in functions(source):
            if function.parameters > PARAMETERS_MAX:
                self.report(source.path, function.line, "parameters",
                            "%s has %d, at most %d" %
                            (function.name, function.parameters, PARAMETERS_MAX))
            if function.line_end is None:
                continue
            length = function.line_end - function.line + 1
            if length > FUNCTION_LINES_MAX:
                self.report(source.path, function.line, "function-length",
                            "%s has %d lines, at most %d" %
                            (function.name, length, FUNCTION_LINES_MAX))

    def check_calls(self, source):
        for match in re.finditer(r"(?<![\w.>])([a-z]\w*)\s*\(", source.code):
            name, line = match.group(1), source.line_of(match.start(1))
            if name in BANNED:
                self.report(source.path, line, "banned-call", "%s: %s" % (name, BANNED[name]))
            if name in ALLOCATION and source.path != ALLOCATION_HOME:
                self.report(source.path, line, "allocation",
                            "%s: all memory comes from dataplane/base/mem.h" % name)

    def check_types(self, source):
        for match in re.finditer(r"\btypedef\b([^;{]*)([;{])", source.plain):
            line = source.line_of(match.start())
            pointer = re.search(r"\(\s*\*\s*(\w+)\s*\)\s*\(", match.group(1))
            if not pointer or match.group(2) == "{":
                self.report(source.path, line, "typedef",
                            "only function pointers get a typedef; types are bare tags")
            elif pointer.group(1).endswith("_t"):
                self.report(source.path, line, "type-name",
                            "%s: names in _t belong to POSIX" % pointer.group(1))
        for match in re.finditer(r"\b(?:struct|union|enum)\s+(\w+_t)\s*[{;]", source.plain):
            self.report(source.path, source.line_of(match.start(1)), "type-name",
                        "%s: names in _t belong to POSIX" % match.group(1))

    def check_braces(self, source):
        code = source.code
        for match in re.finditer(r"(?<![\w#])(if|for|while|else|do)\b", code):
            word, at = match.group(1), match.end()
            if re.search(r"#[ \t]*$", code[:match.start()][-20:]):
                continue  # a preprocessor directive
            if word in ("if", "for", "while"):
                at = after_parentheses(code, at)
                if at is None:
                    continue
            rest = code[at:at + 200].replace("\\\n", "  ").lstrip()
            if word == "while" and closes_do(code, match.start()):
                continue
            if word == "else" and re.match(r"if\b", rest):
                continue
            if not rest.startswith("{"):
                self.report(source.path, source.line_of(match.start()), "braces",
                            "the body of `%s` wants braces" % word)

    def check_build(self, path):
        directory = os.path.dirname(path)
        while directory and not self.exists(directory + "/BUILD"):
            directory = os.path.dirname(directory)
        if not directory:
            self.report(path, 1, "build", "no BUILD file at or above it")
            return
        name = os.path.relpath(path, directory)
        text = re.sub(r"(?m)#.*$", "", self.read(directory + "/BUILD"))
        stem = os.path.splitext(name)[0]
        if '"%s"' % name not in text and '"%s"' % stem not in text:
            self.report(path, 1, "build", "no target of %s/BUILD names it" % directory)

    # ------------------------------------------------------------------- the tree

    def check_unfinished(self):
        for path in self.files:
            base = os.path.basename(path)
            if path.startswith(SELF) or not (path.endswith(TEXT_SUFFIXES) or base == "BUILD"):
                continue
            for number, text in enumerate(self.read(path).split("\n"), 1):
                if UNFINISHED.search(text):
                    self.report(path, number, "unfinished",
                                "write `// LIMIT: what is not handled, and what happens then`")

    def check_cycles(self):
        """Packages of one layer may use one another, but not in a circle."""
        edges = {}
        for path, source in self.sources.items():
            package = os.path.dirname(path)
            if path.split("/")[0] not in LAYERS:
                continue
            for line, spec in source.includes():
                target = os.path.dirname(spec[1:-1])
                if spec[0] == '"' and target != package and self.exists(spec[1:-1]):
                    edges.setdefault(package, {}).setdefault(target, (path, line))
        for start in sorted(edges):
            cycle = find_cycle(edges, start)
            if cycle and start == min(cycle):
                path, line = edges[cycle[0]][cycle[1]]
                self.report(path, line, "cycle", " -> ".join(cycle))

    def check_readmes(self):
        packages = set()
        for path in self.sources:
            parts = path.split("/")[:-1]
            if not parts or parts[0] not in CODE_ROOTS:
                continue
            # Below tests/ an area is described once, not each of its mirror directories.
            packages.add("/".join(parts[:2] if parts[0] == "tests" else parts))
        for package in sorted(packages):
            if not self.exists(package + "/README.md"):
                self.report(package, 1, "readme", "a package with code has a README.md")

    def check_marks(self):
        marks, claims = {}, []
        for path, source in self.sources.items():
            if path.startswith("tests/"):
                continue
            for match in MARK.finditer(source.strings):
                marks.setdefault(match.group(1), (path, source.line_of(match.start())))
        for path in self.files:
            if path.startswith("tests/") and path.endswith((".c", ".h", ".txt")):
                claims.append(self.read(path))
        for name, (path, line) in marks.items():
            if not any('"%s"' % name in text or (" %s\n" % name) in text for text in claims):
                self.report(path, line, "mark", '"%s" is claimed by no test' % name)

    def check_clang_format(self):
        program = shutil.which("clang-format-14")
        if program is None:
            print("WARNING: clang-format-14 is not installed; formatting was NOT checked",
                  file=sys.stderr)
            return
        paths = sorted(p for p in self.sources if p.split("/")[0] in CODE_ROOTS)
        for first in range(0, len(paths), 40):
            done = subprocess.run(
                [program, "--style=file", "--dry-run", "-Werror", "--ferror-limit=3"] +
                paths[first:first + 40],
                cwd=self.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                check=False)
            seen = set()
            for match in re.finditer(r"^(\S+?):(\d+):\d+: error: ", done.stdout, re.M):
                if match.group(1) not in seen:
                    seen.add(match.group(1))
                    self.report(match.group(1), int(match.group(2)), "format",
                                "run clang-format-14 -i on it")
            if done.returncode != 0 and not seen:
                self.report(".clang-format", 1, "format", done.stdout.strip()[:300])


# --------------------------------------------------------------------------- helpers

def in_any(path, places):
    return any(path.startswith(place + "/") for place in places)


def forbidden_import(source, target):
    """Why the package `source` may not include from the package `target`, or None."""
    from_layer, to_layer = source.split("/")[0], target.split("/")[0]
    if from_layer == "tests":
        return None
    if to_layer == "tests":
        return "nothing imports tests"
    if LAYERS.index(to_layer) > LAYERS.index(from_layer):
        return "%s is above %s" % (to_layer, from_layer)
    if from_layer == to_layer == "dataplane":
        package = (source.split("/") + [""])[1]
        other = (target.split("/") + [""])[1]
        if package not in DATAPLANE:
            return "dataplane/%s is not in the layer table of tests/lint/tidy.py" % package
        if other != package and other not in DATAPLANE[package]:
            return "dataplane/%s may not import dataplane/%s" % (package, other)
    return None


def after_parentheses(code, at):
    """The offset behind the parenthesised condition that starts at `at`, or None."""
    while at < len(code) and code[at] in " \t\n\\":
        at += 1
    if at >= len(code) or code[at] != "(":
        return None
    depth = 0
    while at < len(code):
        if code[at] == "(":
            depth += 1
        elif code[at] == ")":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return None


def closes_do(code, at):
    """Whether the `while` at `at` ends a do loop: the block before it was opened by `do`."""
    before = code[:at].rstrip(" \t\n\\")
    if not before.endswith("}"):
        return False
    depth = 0
    for i in range(len(before) - 1, -1, -1):
        if before[i] == "}":
            depth += 1
        elif before[i] == "{":
            depth -= 1
            if depth == 0:
                return re.search(r"\bdo[\s\\]*$", before[:i]) is not None
    return False


def find_cycle(edges, start):
    """A shortest circle of packages through `start`, or None."""
    queue, seen = [[start]], set()
    while queue:
        trail = queue.pop(0)
        for target in sorted(edges.get(trail[-1], {})):
            if target == start:
                return trail + [start]
            if target not in seen:
                seen.add(target)
                queue.append(trail + [target])
    return None


def main(arguments):
    paths = [a for a in arguments if not a.startswith("--")]
    if len(paths) != 1:
        print(__doc__)
        return 2
    tidy = Tidy(paths[0], check_format="--no-format" not in arguments)
    findings = tidy.run()
    for path, line, rule, text in findings:
        print("%s:%d: [%s] %s" % (path, line, rule, text))
    print("tidy: %d C files, %d findings" % (len(tidy.sources), len(findings)))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
