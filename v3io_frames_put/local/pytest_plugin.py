"""The fixture ``local_platform``: one server for the session, empty for every test.

Add ``pytest_plugins = ["v3io_frames_put.local.pytest_plugin"]`` to the top ``conftest.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import LocalPlatform

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def local_platform_server() -> Iterator[LocalPlatform]:
    """Run the server that all tests of the session share."""
    with LocalPlatform() as platform:
        yield platform


@pytest.fixture
def local_platform(local_platform_server: LocalPlatform) -> Iterator[LocalPlatform]:
    """Give an empty local platform; an error inside it fails the test."""
    local_platform_server.clear()
    yield local_platform_server
    local_platform_server.check()
