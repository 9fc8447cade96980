#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs one Python program of test cases.
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1
exec python3 "$1"
