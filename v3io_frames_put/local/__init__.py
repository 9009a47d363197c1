"""A local platform: the web API on this machine, for tests, demos and benchmarks.

``LocalPlatform`` serves it on a port; ``Platform`` answers requests without any socket. It
answers as the real platform is documented and was seen to, streams, objects and listings
alike, and shares no code with the client, so that both cannot be wrong together.

Start it in a test by the fixture ``local_platform``
(``pytest_plugins = ["v3io_frames_put.local.pytest_plugin"]``), in a ``with`` block, or in a
notebook by ``start`` and ``stop``. Look at ``records``, ``requests`` and
``peak_in_flight``, and make it fail by a list of faults::

    from v3io_frames_put.local import LocalPlatform, faults

    script = [
        faults.throttled(times=2, retry_after_seconds=1),  # the first two PutRecords: 429
        faults.lost_answer(nth=3, every=5, times=None),    # then every fifth: no answer
    ]
    with LocalPlatform(faults=script) as platform:
        ...

``load_faults`` reads the same list from a TOML file. ``FaultProxy`` decides without a socket
what a request gets, for simulations with a clock of their own.
"""

try:
    import aiohttp as _aiohttp  # noqa: F401  # asked first, to name the extra
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "The local platform needs aiohttp, which comes with an extra: pip install"
        ' "v3io-frames-put[local]"',
        name=error.name,
    ) from error

from . import faults
from ._http import DelayedWrite, Exchange, Request, Response
from ._local_platform import LocalPlatform
from ._platform import Platform, StoredRecord
from ._rules import AccessKey, Rules
from ._store import StoreError
from .faults import Arrival, Fault, FaultProxy, load_faults

__all__ = [
    "AccessKey",
    "Arrival",
    "DelayedWrite",
    "Exchange",
    "Fault",
    "FaultProxy",
    "LocalPlatform",
    "Platform",
    "Request",
    "Response",
    "Rules",
    "StoreError",
    "StoredRecord",
    "faults",
    "load_faults",
]
