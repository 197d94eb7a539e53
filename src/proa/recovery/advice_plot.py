"""The choices of a standby's schedule as a picture: SVG that needs nothing else, or bars of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from proa.recovery.advice import DAY_S, Forecast, Objectives, duration_text

_WIDTH, _HEIGHT = 860, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 20, 50, 90
_BAR = 24
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.axis{stroke:#888;stroke-width:1}"
    ".missing{stroke:#1f5fbf;fill:#1f5fbf}.recovery{stroke:#b3470f;fill:#b3470f}"
    ".compute{fill:#8884}.line{fill:none;stroke-width:2}.bound{stroke-dasharray:6 4}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.missing{stroke:#7fb2ff;fill:#7fb2ff}"
    ".recovery{stroke:#ffab70;fill:#ffab70}}"
)


def as_svg(choices: Sequence[Forecast], objectives: Objectives) -> str:
    """Lines of what would be missing and of the recovery, bars of the compute; times are logarithmic."""
    times = [value for one in choices for value in (one.missing, one.recovery)]
    times += [bound for bound in (objectives.rpo, objectives.rto) if bound]
    low, high = math.log10(max(1.0, min(times))), math.log10(max(10.0, *times))
    plain = _HEIGHT - _TOP - _BOTTOM

    def across(position: int) -> float:
        return _LEFT + (position + 0.5) * (_WIDTH - _LEFT - _RIGHT) / len(choices)

    def up(seconds: float) -> float:
        share = (math.log10(max(1.0, seconds)) - low) / max(1e-9, high - low)
        return _TOP + plain * (1 - min(1.0, max(0.0, share)))

    parts = [
        f'<rect class="compute" x="{across(n) - 10:.1f}" width="20"'
        f' y="{_TOP + plain * (1 - one.compute / DAY_S):.1f}" height="{plain * one.compute / DAY_S:.1f}"/>'
        for n, one in enumerate(choices)
    ]
    for name, bound in (("missing", objectives.rpo), ("recovery", objectives.rto)):
        points = [(across(n), up(getattr(one, name))) for n, one in enumerate(choices)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="{name} line" points="{line}" style="fill:none"/>')
        parts += [f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points]
        if bound:
            parts.append(
                f'<line class="{name} bound" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{up(bound):.1f}"'
                f' y2="{up(bound):.1f}"/>'
            )
    foot = _TOP + plain
    parts.append(
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{foot}" y2="{foot}"/>'
    )
    parts += [
        f'<text x="{across(n):.1f}" y="{foot + 14}" text-anchor="end"'
        f' transform="rotate(-40 {across(n):.1f} {foot + 14})">{escape(one.name)}</text>'
        for n, one in enumerate(choices)
    ]
    parts += [
        f'<text x="{_LEFT - 8}" y="{up(10**power) + 4:.1f}" text-anchor="end">'
        f"{escape(duration_text(10**power))}</text>"
        for power in range(math.ceil(low), math.floor(high) + 1)
    ]
    parts += [_legend(objectives)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        f' aria-label="What each schedule of the standby leads to"><style>{_STYLE}</style>'
        f"{''.join(parts)}</svg>"
    )


def as_text(choices: Sequence[Forecast], objectives: Objectives) -> str:
    """A line for each choice, with bars of what would be missing and of the recovery."""
    widest = max(len(one.name) for one in choices)
    largest = math.log10(max(10.0, *(t for one in choices for t in (one.missing, one.recovery))))
    lines = [f"{'':{widest}}  {'missing':{_BAR + 12}}recovery (longer is worse, logarithmic)"]
    for one in choices:
        cells = [one.name.ljust(widest)]
        for seconds, bound in ((one.missing, objectives.rpo), (one.recovery, objectives.rto)):
            length = round(_BAR * math.log10(max(1.0, seconds)) / largest)
            over = not one.keeps_up or (bound is not None and seconds > bound)
            cells.append(
                f"{('x' if over else '=') * length} {duration_text(seconds)}".ljust(_BAR + 10)
            )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _legend(objectives: Objectives) -> str:
    rpo = f" (rpo {duration_text(objectives.rpo)})" if objectives.rpo else ""
    rto = f" (rto {duration_text(objectives.rto)})" if objectives.rto else ""
    return (
        f'<circle class="missing" cx="{_LEFT}" cy="22" r="5"/><text x="{_LEFT + 12}" y="27">missing at'
        f' most{escape(rpo)}</text><circle class="recovery" cx="{_LEFT + 240}" cy="22" r="5"/>'
        f'<text x="{_LEFT + 252}" y="27">recovery at most{escape(rto)}</text>'
        f'<rect class="compute" x="{_LEFT + 480}" y="15" width="14" height="14"/>'
        f'<text x="{_LEFT + 500}" y="27">compute, of a day</text>'
    )
