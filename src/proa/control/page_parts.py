"""Pieces of HTML: every text is escaped unless it was made here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

_EMPTY = frozenset({"meta", "input", "link"})
_CHART = (240, 48)

STYLE = """
:root{color-scheme:light dark;--line:#8884;--ok:#1a7f37;--bad:#b3261e;--warn:#8a5a00;--accent:#1f5fbf}
@media(prefers-color-scheme:dark){:root{--ok:#5fd38a;--bad:#ff8a80;--warn:#ffc46b;--accent:#8ab4ff}}
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:72rem;padding:0 1rem 3rem}
header{display:flex;flex-wrap:wrap;gap:.5rem 1.5rem;align-items:baseline;border-bottom:1px solid var(--line);padding:.8rem 0}
header strong{font-size:1.1rem}nav{display:flex;gap:1rem;flex-wrap:wrap}a{color:var(--accent)}
.regions{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(17rem,1fr))}
.card{border:1px solid var(--line);border-radius:.5rem;padding:1rem}.card.active{border:2px solid var(--ok)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;
padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line)}td.number,th.number{text-align:right}
.ok{color:var(--ok)}.bad{color:var(--bad);font-weight:600}.warn{color:var(--warn)}.quiet{opacity:.75}
.alert{border-left:.3rem solid var(--bad);padding:.4rem .8rem;margin:.6rem 0}
form.inline{display:inline}button,.button{font:inherit;padding:.6rem 1.1rem;border-radius:.4rem;border:1px solid var(--line);
background:transparent;color:inherit;cursor:pointer;min-height:2.75rem;text-decoration:none;display:inline-block}
button.danger{border-color:var(--bad);color:var(--bad);font-weight:600}.verbs{display:flex;flex-wrap:wrap;gap:.6rem}
input[type=text],input[type=password]{font:inherit;padding:.5rem;width:100%;max-width:30rem}
label{display:block;margin:.8rem 0}svg.chart{width:100%;height:3rem}
svg.chart polyline{fill:none;stroke:var(--accent);stroke-width:2;vector-effect:non-scaling-stroke}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.graph{list-style:none;padding:0;margin:0}.graph li{display:flex;gap:.6rem}
.graph .lines{flex:none;position:relative}.graph svg{position:absolute;top:-.5px;left:0;width:100%;height:calc(100% + 1px)}
.graph path{fill:none;stroke:var(--accent);stroke-width:2;vector-effect:non-scaling-stroke}
.graph path.point{stroke-width:12;stroke-linecap:round}
.graph .dataset{flex:1;min-width:0;padding:.45rem 0;overflow-wrap:anywhere}.dataset p{margin:0}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem}
"""


class Markup(str):
    """HTML that was made here."""

    __slots__ = ()


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """An element. Children that are no Markup are escaped, None is left out; `class_` is `class`."""
    texts = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")  # noqa: PLW2901 - as HTML spells it
        texts.append(f" {key}" if value is True else f' {key}="{escape(str(value))}"')
    start = f"<{name}{''.join(texts)}>"
    if name in _EMPTY:
        return Markup(start)
    return Markup(f"{start}{join(children)}</{name}>")


def join(children: Iterable[Any]) -> Markup:
    """Pieces one after the other."""
    pieces = (
        one if isinstance(one, Markup) else escape(str(one)) for one in children if one is not None
    )
    return Markup("".join(pieces))


def table(
    titles: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: Sequence[str] = ()
) -> Markup:
    """A table that scrolls in itself on a narrow screen; columns of `numbers` are aligned right."""
    kinds = ["number" if title in numbers else None for title in titles]
    head = tag(
        "tr", *(tag("th", t, scope="col", class_=k) for t, k in zip(titles, kinds, strict=True))
    )
    body = [
        tag("tr", *(tag("td", cell, class_=k) for cell, k in zip(row, kinds, strict=True)))
        for row in rows
    ]
    if not body:
        return tag("p", "nothing yet", class_="quiet")
    return tag(
        "div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll", tabindex="0"
    )


def chart(points: Sequence[tuple[datetime, float]], label: str) -> Markup | None:
    """A line over time. Returns None while there are fewer than two points."""
    if len(points) < 2:
        return None
    width, height = _CHART
    first, last = points[0][0].timestamp(), points[-1][0].timestamp()
    highest = max(1.0, *(value for _, value in points))
    line = " ".join(
        f"{(at.timestamp() - first) / max(1e-9, last - first) * width:.1f},"
        f"{height - 2 - value / highest * (height - 4):.1f}"
        for at, value in points
    )
    return tag(
        "svg",
        tag("polyline", points=line),
        class_="chart",
        viewBox=f"0 0 {width} {height}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


@dataclass(frozen=True)
class GraphRow:
    """One row of a drawn graph: its point, and the lines that pass it."""

    point: int
    """The lane that it stands in, counted from the left."""
    passing: tuple[int, ...] = ()
    """Lanes whose lines go from the row above to the row below."""
    joined: tuple[int, ...] = ()
    """Lanes whose lines come from above and end in the point, or leave a branch there."""
    is_read: bool = False
    """A line goes on from the point to rows below."""


def lay_out(order: Sequence[str], reads: Mapping[str, Sequence[str]]) -> list[GraphRow]:
    """Give each node of a graph a row, in an order where it comes after those that it reads.

    A node's line keeps one lane, from its own row to the last one that reads it.
    """
    last: dict[str, int] = {}
    for row, name in enumerate(order):
        last |= dict.fromkeys(reads.get(name, ()), row)
    lanes: list[str | None] = []
    rows = []
    for row, name in enumerate(order):
        joined = [lane for lane, one in enumerate(lanes) if one in reads.get(name, ())]
        for lane in joined:
            if last[str(lanes[lane])] == row:
                lanes[lane] = None
        free = [lane for lane in (*joined, *range(len(lanes))) if lanes[lane] is None]
        point = free[0] if free else len(lanes)
        passing = tuple(lane for lane, one in enumerate(lanes) if one is not None)
        is_read = last.get(name, -1) > row
        lanes += [None] * (point + 1 - len(lanes))
        lanes[point] = name if is_read else None
        rows.append(GraphRow(point, passing, tuple(joined), is_read))
    return rows


def graph_line(row: GraphRow, lanes: int) -> Markup:
    """The lines of one row, drawn as high as the row is; `lanes` is how many all rows have."""
    step = min(18.0, 108.0 / lanes)
    at = [step * (lane + 0.5) for lane in range(lanes)]
    paths = [f"M{at[lane]:.1f} 0V48" for lane in row.passing]
    middle = at[row.point]
    paths += [
        f"M{at[lane]:.1f} 0C{at[lane]:.1f} 14 {middle:.1f} 10 {middle:.1f} 24"
        for lane in row.joined
    ]
    if row.is_read:
        paths.append(f"M{middle:.1f} 24V48")
    width = step * lanes
    drawn = tag(
        "svg",
        tag("path", d="".join(paths)),
        tag("path", d=f"M{middle:.1f} 24h0", class_="point"),
        viewBox=f"0 0 {width:.1f} 48",
        preserveAspectRatio="none",
    )
    return tag("span", drawn, class_="lines", style=f"width:{width:.0f}px", aria_hidden="true")


def document(title: str, *body: Any, refresh: int | str | None = None) -> str:
    """A whole page that needs nothing else. `refresh`: seconds until it is loaded again, `;url=` from elsewhere."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        None if refresh is None else tag("meta", http_equiv="refresh", content=refresh),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    return f"<!doctype html>{tag('html', head, tag('body', *body), lang='en')}"
