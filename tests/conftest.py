"""What every test stands on: a clean environment, closed sockets, the local platform."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

pytest_plugins = ["v3io_frames_put.local.pytest_plugin"]

HERE = Path(__file__).parent
IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}
NO_SOCKETS = ("rows", "wire", "delivery")
FOREIGN = ("V3IO_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
FOREIGN_CA = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

# Shared, busy machines make single examples slow; the test's own timeout is the bound.
settings.register_profile(
    "quick",
    max_examples=40,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("fast", parent=settings.get_profile("quick"), max_examples=10)
settings.register_profile("thorough", parent=settings.get_profile("quick"), max_examples=1_000)
settings.load_profile("quick")


def is_foreign(name: str) -> bool:
    """Tell whether a variable could lead a test to a platform that is not ours."""
    return name.upper().startswith(FOREIGN) or name in FOREIGN_CA


def pytest_configure() -> None:
    """Take away what points to other platforms, before anything is imported."""
    # A shell lets its jobs in the background ignore Ctrl-C, which tests press.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in filter(is_foreign, list(os.environ)):
        del os.environ[name]
    os.environ.pop("PYTHONUNBUFFERED", None)  # programs that tests start run as users run them


@pytest.fixture(autouse=True)
def _no_foreign_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what an earlier test may have left behind, too."""
    for name in filter(is_foreign, list(os.environ)):
        monkeypatch.delenv(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of pure code and close the sockets for them, unless they use the platform."""
    for item in items:
        top = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        asks = "local_platform_server" in getattr(item, "fixturenames", ())
        opened = asks or item.get_closest_marker("enable_socket") is not None
        if top in NO_SOCKETS and not opened:
            item.add_marker(pytest.mark.disable_socket)
            item.add_marker(pytest.mark.pure)


@pytest.fixture(scope="session")
def require() -> Callable[..., None]:
    """Ask for something that may be absent: a laptop skips and says so, CI fails."""

    def require(what: str, *, present: object, hint: str) -> None:
        if present:
            return
        message = f"{what} is not here. {hint}"
        if IN_CI:
            pytest.fail(message)
        pytest.skip(message)

    return require


@pytest.fixture(scope="session")
def require_module(require: Callable[..., None]) -> Callable[[str], ModuleType]:
    """Import a module that may be absent: a laptop skips and says so, CI fails."""

    def require_module(name: str) -> ModuleType:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name.partition(".")[0]:
                raise
            require(f"The package {name}", present=False, hint=f"Type: pip install {name}")
            raise

    return require_module


@pytest.fixture
def ctrl_c_after():
    """Press Ctrl-C when a function of C returns, once Python's own handler is in place."""

    @contextmanager
    def after(name):
        def press(_frame, event, called):
            is_own = signal.getsignal(signal.SIGINT) is signal.default_int_handler
            if is_own and event == "c_return" and called.__qualname__ == name:
                signal.raise_signal(signal.SIGINT)

        sys.setprofile(press)
        try:
            yield
        finally:
            sys.setprofile(None)

    return after
