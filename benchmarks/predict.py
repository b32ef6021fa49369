"""``python -m benchmarks.predict``: how fast a running service answers one picture a request.

Start the service first (``make run``). Rounds of one connection and of many alternate, so that
what else the machine does falls on both; medians over rounds are printed with their spread.
"""

import argparse
import asyncio
import io
import statistics
import time

import httpx
import numpy as np
from PIL import Image


def picture() -> bytes:
    """Return a 32x32 PNG of noise: decoding is cheap, and no two runs differ."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


async def measure(address: str, connections: int, requests: int) -> list[float]:
    """Send requests over so many connections and return each one's seconds."""
    body, headers = picture(), {"Content-Type": "image/png"}
    seconds: list[float] = []
    limits = httpx.Limits(max_connections=connections)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=60) as client:

        async def connection() -> None:
            for _ in range(requests // connections):
                started = time.perf_counter()
                response = await client.post("/predict", content=body, headers=headers)
                response.raise_for_status()
                seconds.append(time.perf_counter() - started)

        await asyncio.gather(*(connection() for _ in range(connections)))
    return seconds


def main() -> None:
    """Print latency of one connection and throughput of many."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predict", description=__doc__)
    parser.add_argument("--address", default="http://127.0.0.1:8000")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--requests", type=int, default=320, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    asyncio.run(measure(options.address, 1, 20))  # warm up
    latencies: list[float] = []
    rates: list[float] = []
    for _ in range(options.rounds):
        alone = asyncio.run(measure(options.address, 1, options.requests // 4))
        latencies.append(statistics.median(alone) * 1000)
        started = time.perf_counter()
        done = len(asyncio.run(measure(options.address, options.connections, options.requests)))
        rates.append(done / (time.perf_counter() - started))
    for name, unit, found in (
        ("1 connection, median latency", "ms", latencies),
        (f"{options.connections} connections, throughput", "requests/s", rates),
    ):
        low, middle, high = min(found), statistics.median(found), max(found)
        print(f"{name}: {middle:.1f} {unit} (rounds from {low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main()
