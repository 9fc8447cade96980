#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the lint over the real working tree: the directory that WORKSPACE is a link into.
set -euo pipefail
exec python3 "$1" "$(dirname "$(realpath "$2")")"
