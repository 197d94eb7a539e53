"""(d) Shipping to two landing zones, against `cp` twice and `sha256sum` once."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks.data import orders
from benchmarks.measure import Result, alternate

GOAL = 0.8


def measure(folder: Path, *, megabytes: int, runs: int) -> list[Result]:
    source = folder / f"orders-{megabytes}"
    files = orders(source, megabytes=megabytes)
    size = sum(path.stat().st_size for path in files)

    def clear(_run: int) -> None:
        for name in ("a", "b", "copies"):
            shutil.rmtree(folder / name, ignore_errors=True)
        shutil.rmtree(source / "_proa", ignore_errors=True)

    ours, theirs, ratio = alternate(
        lambda _run: _ship(source, folder),
        lambda _run: _copy(source, folder / "copies"),
        runs=runs,
        prepare=clear,
    )
    clear(0)
    return [
        Result(
            "ship to two zones, speed against cp, cp and sha256sum",
            1 / ratio,
            "x",
            f"at least {GOAL}",
            1 / ratio >= GOAL,
            {"ours_s": ours, "peer_s": theirs, "megabytes": size / 1e6, "files": len(files)},
        )
    ]


def _ship(source: Path, folder: Path) -> None:
    from proa.clock import SystemClock
    from proa.landing import Shipper, ShipSource, Zone
    from proa.storage import Store

    store = Store.open(str(source))
    zones = [Zone(name, str(folder / name)) for name in ("a", "b")]
    shipper = Shipper(ShipSource("orders", store, store), zones, SystemClock())
    try:
        report = shipper.ship()
    finally:
        shipper.close()
    assert all(zone.error is None and zone.through == report.head for zone in report.zones)


def _copy(source: Path, copies: Path) -> None:
    for name in ("a", "b"):
        (copies / name).mkdir(parents=True)
        subprocess.run(["cp", "-r", str(source), str(copies / name)], check=True)
    names = sorted(str(path) for path in source.glob("*.json"))
    subprocess.run(["sha256sum", *names], check=True, stdout=subprocess.DEVNULL)
