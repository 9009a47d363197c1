"""What ``max_in_flight="auto"`` makes of simulated links, beside fixed numbers.

Run as a script, ``python -m tests.bench.pace``: it prints the tables and the curve of
docs/explanation/pace.md. Nothing is measured, all time is simulated, so that figures are the
same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.delivery.link import LINKS, Link, Traffic

REQUESTS = 2_000
CHOICES = ("auto", 8, 32)


def fill(link: Link, max_in_flight: int | str) -> tuple[float, float]:
    """Return which part of the capacity one uploader gets: at first, and then."""
    end = REQUESTS / link.capacity
    traffic = Traffic(link)
    uploader = traffic.add(max_in_flight)
    traffic.run(end)
    first, then = uploader.rate(0, end / 10), uploader.rate(end / 4, end)
    return first / link.capacity, then / link.capacity


def share(link: Link) -> tuple[float, float]:
    """Return the first uploader's share of what two store: both at once, one later."""
    end = 2 * REQUESTS / link.capacity
    shares = []
    for late in (0.0, 0.2):
        traffic = Traffic(link)
        first, second = traffic.add("auto"), traffic.add("auto", after=late * end)
        traffic.run(end)
        rates = [each.rate(end / 2, end) for each in (first, second)]
        shares.append(rates[0] / sum(rates))
    return shares[0], shares[1]


def overload(link: Link, max_in_flight: int | str) -> float:
    """Return which part of the capacity four uploaders get together."""
    end = 400 / link.capacity
    traffic = Traffic(link)
    uploaders = [traffic.add(max_in_flight) for _ in range(4)]
    traffic.run(end)
    return sum(each.rate(end / 4, end) for each in uploaders) / link.capacity


def curve(link: Link, seconds: float, *, lines: int = 24) -> Iterator[str]:
    """Draw how many requests may be under way, and how much is stored."""
    traffic = Traffic(link)
    uploader = traffic.add("auto")
    traffic.run(seconds)
    step = seconds / lines
    for at in range(lines):
        now = at * step
        requests = [count for time, count in uploader.curve if time <= now][-1]
        part = uploader.rate(now, now + step) / link.capacity
        yield f"{now:5.2f} s {requests:3d} {'#' * requests:<40} {part:4.0%}"


def main() -> None:
    """Print everything."""
    print("| link | capacity, requests/s | auto, at first | auto | 8 | 32 | two share | later |")
    print("|---|---|---|---|---|---|---|---|")
    for name, link in LINKS.items():
        filled = [fill(link, choice) for choice in CHOICES]
        parts = [filled[0][0], *(then for _, then in filled), *share(link)]
        told = " | ".join(f"{part:.0%}" for part in parts)
        print(f"| {name} | {link.capacity:.0f} | {told} |", flush=True)
    told = ", ".join(f"{c}: {overload(LINKS['strict'], c):.0%}" for c in CHOICES)
    print(f"\nfour uploaders on `strict`: {told}\n")
    print("\n".join(curve(LINKS["far"], 12.0)))


if __name__ == "__main__":
    main()
