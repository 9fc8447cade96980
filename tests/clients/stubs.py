# SPDX-License-Identifier: Apache-2.0
"""Python stubs of the schema, generated into a temporary directory at import."""
import atexit
import pathlib
import shutil
import sys
import tempfile

from grpc_tools import protoc

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_OUT = tempfile.mkdtemp(prefix="lightcone-stubs-")
atexit.register(shutil.rmtree, _OUT, True)
if protoc.main(["protoc", f"-I{_ROOT}/api/proto", f"--python_out={_OUT}", f"--grpc_python_out={_OUT}", "lightcone.proto"]) != 0:
    raise RuntimeError("protoc failed")
sys.path.insert(0, _OUT)

import lightcone_pb2 as pb  # noqa: E402
import lightcone_pb2_grpc as rpc  # noqa: E402

__all__ = ["pb", "rpc"]
