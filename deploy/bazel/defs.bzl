# SPDX-License-Identifier: Apache-2.0
"""The macros that every BUILD file of Lightcone uses instead of the native rules.

They add the language level, the warnings (all of them errors) and the allocator, and keep a library
private unless its BUILD file names the importers. Tests may import everything, so //tests is
always added to them.
"""

_LANGUAGE = [
    "-std=c17",
    "-D_GNU_SOURCE",
]

_WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wconversion",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Wimplicit-fallthrough",
    "-Wformat=2",
    "-Wcast-align",
    "-Wvla",
    "-Wundef",
    "-Wswitch-enum",
    "-Werror",
]

COPTS = _LANGUAGE + _WARNINGS

# What optimising a whole program at once needs: objects that hold both forms, so that only the
# programs that ask for it pay for it when they are linked.
def _unless_special(options):
    return select({
        "//deploy/bazel:asan": [],
        "//deploy/bazel:tsan": [],
        "//deploy/bazel:clang": [],
        "//conditions:default": options,
    })

_WHOLE_PROGRAM_COPTS = _unless_special(["-flto", "-ffat-lto-objects"])
_WHOLE_PROGRAM_LINKOPTS = _unless_special(["-flto=auto", "-O2"])
_PLAIN_LINKOPTS = _unless_special(["-fno-lto"])

# What a code generator wrote is not held to our warnings.
_COPTS_GENERATED = _LANGUAGE + ["-w"]

_TESTS = "//tests:__subpackages__"

def _visibility(given):
    given = list(given or [])
    if "//visibility:public" in given or _TESTS in given:
        return given
    return [v for v in given if v != "//visibility:private"] + [_TESTS]

def lightcone_cc_library(
        name,
        srcs = [],
        hdrs = [],
        deps = [],
        visibility = None,
        copts = [],
        **kwargs):
    """One cohesive unit: `hdrs` are public, `srcs` are the .c files and `*_internal.h`."""
    native.cc_library(
        name = name,
        srcs = srcs,
        hdrs = hdrs,
        copts = COPTS + copts + _WHOLE_PROGRAM_COPTS,
        linkstatic = True,
        visibility = _visibility(visibility),
        deps = deps,
        **kwargs
    )

def lightcone_cc_binary(
        name,
        srcs = [],
        deps = [],
        copts = [],
        whole_program = False,
        visibility = None,
        **kwargs):
    """A program, with jemalloc linked in (except under a sanitizer).

    `whole_program`: optimised across files when it is linked. It makes the simulator a fifth
    faster; for the programs whose speed somebody feels.
    """
    native.cc_binary(
        name = name,
        srcs = srcs,
        copts = COPTS + copts + _WHOLE_PROGRAM_COPTS,
        linkopts = _WHOLE_PROGRAM_LINKOPTS if whole_program else _PLAIN_LINKOPTS,
        linkstatic = True,
        visibility = _visibility(visibility),
        deps = deps + ["//deploy/bazel/sys:jemalloc"],
        **kwargs
    )

def lightcone_cc_test(
        name,
        srcs,
        deps = [],
        size = "medium",
        tags = [],
        data = [],
        args = [],
        copts = [],
        **kwargs):
    """A cmocka program; `sim`, `slow`, `net` are the tags that deploy/test knows.

    The size sets the time after which a test counts as hanging. Most take a second, but five
    minutes is what a machine that others use may need for the longest of them.
    """
    native.cc_test(
        name = name,
        size = size,
        srcs = srcs,
        args = args,
        copts = COPTS + copts,
        linkopts = _PLAIN_LINKOPTS,
        data = data,
        linkstatic = True,
        tags = tags,
        deps = deps + [
            "//deploy/bazel/sys:cmocka",
            "//deploy/bazel/sys:jemalloc",
        ],
        **kwargs
    )

def _stem(src):
    if not src.endswith(".proto") or ":" in src or "/" in src:
        fail("a .proto file of the same package is wanted, not " + src)
    return src[:-len(".proto")]

def lightcone_descriptor_set(name, protos, symbol, visibility = None):
    """Embeds the descriptors of .proto files, and of all that they import, in a C library.

    Include "<package>/<symbol>.descriptor.h"; it declares the serialized FileDescriptorSet as
    `extern const uint8_t <symbol>_descriptor_set[]` and `extern const size_t
    <symbol>_descriptor_set_size`.

    Args:
      name: the library.
      protos: .proto files or `<name>_proto` targets of lightcone_proto_c.
      symbol: prefix of the C names and of the generated files.
      visibility: as of lightcone_cc_library.
    """
    native.genrule(
        name = name + "_gen",
        srcs = protos,
        outs = [
            symbol + ".descriptor.bin",
            symbol + ".descriptor.c",
            symbol + ".descriptor.h",
        ],
        cmd = """
set -e
bin=$(location {s}.descriptor.bin)
protoc --proto_path=. --include_imports --descriptor_set_out=$$bin $(SRCS)
cat > $(location {s}.descriptor.h) <<END
#pragma once
#include <stddef.h>
#include <stdint.h>
extern const uint8_t {s}_descriptor_set[];
extern const size_t {s}_descriptor_set_size;
END
{{
    echo '#include "{pkg}/{s}.descriptor.h"'
    echo 'const uint8_t {s}_descriptor_set[] = {{'
    od -An -v -tx1 $$bin | sed 's/ \\([0-9a-f][0-9a-f]\\)/0x\\1,/g'
    echo '}};'
    echo 'const size_t {s}_descriptor_set_size = sizeof({s}_descriptor_set);'
}} > $(location {s}.descriptor.c)
""".format(s = symbol, pkg = native.package_name()),
        message = "Embedding the descriptors of " + symbol,
        visibility = ["//visibility:private"],
    )
    native.cc_library(
        name = name,
        srcs = [symbol + ".descriptor.c"],
        hdrs = [symbol + ".descriptor.h"],
        copts = _COPTS_GENERATED,
        linkstatic = True,
        visibility = _visibility(visibility),
    )

def lightcone_proto_c(name, src, proto_deps = [], visibility = None):
    """A C library from a .proto file, by protoc-c.

    Makes the targets
      <name>             the library; include "<package>/<stem>.pb-c.h"
      <name>_proto       the .proto file with all that it imports
      <name>_descriptor  lightcone_descriptor_set of it, with <stem> as the symbol

    Args:
      name: the library.
      src: the .proto file, in this package. It imports others by workspace-relative path.
      proto_deps: the lightcone_proto_c targets of the files that it imports.
      visibility: as of lightcone_cc_library.
    """
    stem = _stem(src)
    imported = [Label(native.repository_name() + "//" + native.package_name()).relative(d) for d in proto_deps]
    imported_protos = [str(d) + "_proto" for d in imported]
    native.filegroup(
        name = name + "_proto",
        srcs = [src] + imported_protos,
        visibility = _visibility(visibility),
    )

    # The header becomes a system header, so that our warnings do not judge its macros and enums.
    native.genrule(
        name = name + "_gen",
        srcs = [":" + name + "_proto"],
        outs = [
            stem + ".pb-c.c",
            stem + ".pb-c.h",
        ],
        cmd = """
set -e
protoc-c --proto_path=. --c_out=$(GENDIR) {pkg}/{src}
header=$(location {stem}.pb-c.h)
{{ echo '#pragma GCC system_header'; cat $$header; }} > $$header.tmp
mv $$header.tmp $$header
""".format(pkg = native.package_name(), src = src, stem = stem),
        message = "Generating C from " + src,
        visibility = ["//visibility:private"],
    )
    native.cc_library(
        name = name,
        srcs = [stem + ".pb-c.c"],
        hdrs = [stem + ".pb-c.h"],
        copts = _COPTS_GENERATED,
        linkstatic = True,
        visibility = _visibility(visibility),
        deps = proto_deps + ["//deploy/bazel/sys:protobuf_c"],
    )
    lightcone_descriptor_set(
        name = name + "_descriptor",
        protos = [":" + name + "_proto"],
        symbol = stem,
        visibility = visibility,
    )
