"""Playing an exchange on a connection of aiohttp's: waiting, dripping, cutting, resetting."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from v3io_frames_put.local._exchange import Ending, Exchange
    from v3io_frames_put.local._messages import Response

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # lingering on, for no time
_DRIPS: Final = 20


async def play(http: web.BaseRequest, exchange: Exchange) -> web.StreamResponse:
    """Give a request what its exchange says; aiohttp ends the connection that stays open."""
    if exchange.body_read < 1:
        await _read_part(http, exchange.body_read)
    if exchange.wait_seconds is None:
        await asyncio.Event().wait()  # until the client goes: that cancels us
    elif exchange.wait_seconds:
        await asyncio.sleep(exchange.wait_seconds)
    answer = None if exchange.response is None else await _send(http, exchange.response, exchange)
    if exchange.ending == "keep" and exchange.body_sent >= 1 and answer is not None:
        return answer
    await _end(http, exchange.ending)
    return answer or web.Response()  # goes nowhere


async def _read_part(http: web.BaseRequest, share: float) -> None:
    """Take a share of the body, and not a byte more than one read brings."""
    wanted = int((http.content_length or 0) * share)
    while wanted > 0 and not http.content.at_eof():
        wanted -= len(await http.content.read(wanted))


async def _send(
    http: web.BaseRequest, response: Response, exchange: Exchange
) -> web.StreamResponse:
    """Send an answer as far as the exchange goes."""
    if exchange.body_sent >= 1 and not exchange.drip_seconds:
        plain = web.Response(
            status=response.status,
            reason=response.reason,
            headers=response.headers,
            body=response.body or None,
        )
        if exchange.ending != "keep":
            plain.force_close()
            await plain.prepare(http)
            await plain.write_eof()
        return plain
    status, reason = response.status, response.reason
    answer = web.StreamResponse(status=status, reason=reason, headers=response.headers)
    answer.content_length = len(response.body)
    await answer.prepare(http)
    body = response.body[: int(len(response.body) * exchange.body_sent)]
    step = max(1, -(-len(body) // _DRIPS)) if exchange.drip_seconds else max(1, len(body))
    for start in range(0, len(body), step):
        await asyncio.sleep(exchange.drip_seconds / _DRIPS)
        await answer.write(body[start : start + step])
    return answer


async def _end(http: web.BaseRequest, ending: Ending) -> None:
    """End the connection, with what was written on its way."""
    transport = http.transport
    if transport is None:
        return
    if ending == "reset":
        reset(transport)
    else:
        transport.close()
    await asyncio.sleep(0)  # the loop tells aiohttp that the connection is gone


def reset(transport: asyncio.BaseTransport) -> None:
    """Close a connection the hard way."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()  # type: ignore[attr-defined]  # every transport of a stream has it
