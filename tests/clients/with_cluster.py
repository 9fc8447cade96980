# SPDX-License-Identifier: Apache-2.0
"""Runs a command beside a fresh three-node cluster that has one keyspace.

usage: with_cluster.py KEYSPACE COMMAND [ARGUMENT...]
The command finds ADDRESSES (host:port,...) and PROTO_DIR in its environment.
"""
import os
import subprocess
import sys

from cluster import ROOT, Cluster


def main():
    with Cluster(3) as cluster:
        cluster.found()
        cluster.create(sys.argv[1])
        environment = dict(os.environ, ADDRESSES=cluster.addresses, PROTO_DIR=str(ROOT / "api/proto"))
        return subprocess.run(sys.argv[2:], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
