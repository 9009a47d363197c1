"""Without an engine, its face says what to install; without the faces, no engine is loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MISSING = """
import json, sys
sys.modules[{engine!r}] = None
try:
    import v3io_frames_put.{engine}
except ImportError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(("face", "engine"), [("dask", "dask"), ("spark", "pyspark")])
def test_a_face_names_the_extra_that_it_misses(face, engine):
    code = MISSING.format(engine=engine).replace(
        f"v3io_frames_put.{engine}", f"v3io_frames_put.{face}"
    )
    kind, text = run_python(code)
    assert kind == "MissingExtra"
    assert f"v3io-frames-put[{face}]" in text


def test_the_package_loads_no_engine():
    code = "import json, sys, v3io_frames_put.jobs; print(json.dumps(list(sys.modules)))"
    assert not {"dask", "distributed", "fsspec", "pyspark"} & set(run_python(code))
