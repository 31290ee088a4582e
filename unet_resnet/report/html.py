"""How do numbers become HTML? Tables, rows of photos, and a histogram drawn as SVG.

Everything here returns text, with whatever came from outside escaped. The frame around it is
report.html.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

Number = float | int | None  # None: not defined; shown as a dash, sorted last


class Row(NamedTuple):
    """A photo in the list."""
    name: str
    width: int  # of the full size, in pixels
    height: int
    numbers: dict[str, Number]  # by the column's label
    pictures: list[tuple[str, str]]  # photo, overlay: URL of the full size, of the thumbnail


class Histogram(NamedTuple):
    """Amount i lies between the widths edges[i] and edges[i + 1]; the labels name the units."""
    edges: Sequence[float]
    amounts: Sequence[float]
    width: str = "crack width (px)"
    amount: str = "centre line length (px)"


def show(value: Number | str) -> str:
    """Text as it is, a number with about three digits that matter."""
    if isinstance(value, str):
        return f"<code>{escape(value)}</code>"
    if not is_number(value):
        return "–"
    size = abs(value)
    if isinstance(value, int) or size >= 100 or size == 0:
        return f"{value:,.0f}"
    return f"{value:.1g}" if size < 0.001 else f"{value:.{1 if size >= 10 else 3}f}"


def is_number(value: Number) -> bool:
    return value is not None and math.isfinite(value)


def section(title: str, *content: str) -> str:
    return "\n".join((f"<section>\n<h2>{title}</h2>", *content, "</section>"))


def table(lines: Iterable[Sequence[Number | str]], heads: Sequence[str] = ()) -> str:
    """A table in which each line's first cell is its heading; wide ones scroll."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(f'<tr><th scope="row">{escape(first)}</th>'
                   + "".join(f"<td>{show(cell)}</td>" for cell in rest) + "</tr>\n"
                   for first, *rest in lines)
    kind, head = ("numbers", f"<thead><tr>{head}</tr></thead>") if heads else ("text", "")
    return f'<table class="{kind}">{head}<tbody>\n{body}</tbody></table>'


def tiles(values: Mapping[str, str], alarm: str) -> str:
    """Large numbers for a first glance; the one labelled `alarm` in red."""
    return "".join(f'<div{" class=bad" * (label == alarm)}><dt>{label}</dt><dd>{value}</dd></div>\n'
                   for label, value in values.items())


def legend(meanings: Mapping[str, str]) -> str:
    """A list of colours; the page's style has a class for each."""
    return '<ul class="legend">' + "".join(
        f'<li class="{name}">{text}</li>' for name, text in meanings.items()) + "</ul>"


def heads(labels: Iterable[str]) -> str:
    """Of the list of photos: a button sorts by its column."""
    button = '<th scope="col"><button type="button">{}</button></th>\n'
    return (button.format("photo") + '<th scope="col">photo and overlay</th>\n'
            + "".join(button.format(escape(label)) for label in labels))


def list_row(row: Row, labels: Iterable[str], clear: bool) -> str:
    """A row of the list of photos; data-value is what it is sorted by. clear: without cracks."""
    name = escape(row.name)
    cells = [f'<tr{" class=clear" * clear}><th scope="row" data-value="{name}"><bdi>{name}</bdi>'
             f'<small>{row.width} × {row.height}</small></th><td class="pictures">{pair(row)}</td>']
    for label in labels:
        value = row.numbers.get(label)
        cells.append(f'<td data-label="{escape(label)}" data-value='
                     f'"{value if is_number(value) else ""}">{show(value)}</td>')
    return "".join(cells) + "</tr>\n"


def pair(row: Row) -> str:
    """Photo and overlay side by side, each a link to its full size.

    The numbers of width and height keep the place of a thumbnail that is not yet decoded.
    """
    links = (f'<a class="picture" href="{url}"><img src="{thumbnail}" alt="{kind}: '
             f'{escape(row.name)}" width="{row.width}" height="{row.height}" loading="lazy"></a>'
             for kind, (url, thumbnail) in zip(("Photo", "Overlay"), row.pictures, strict=True))
    return f'<div class="pair">{"".join(links)}</div>'


def figures(captions: Iterable[tuple[Row, str]]) -> str:
    """Pairs of pictures with their name and a line of text."""
    items = "".join(f"<li><figure>{pair(row)}<figcaption><bdi>{escape(row.name)}</bdi><br>"
                    f"{text}</figcaption></figure></li>\n" for row, text in captions)
    return f'<ol class="figures">\n{items}</ol>'


def chart(widths: Histogram) -> str:
    """The histogram as SVG of 800 x 290 units: grid lines, bars, labels; then its numbers."""
    left, right, top, bottom = 80, 780, 40, 240
    first, last = widths.edges[0], widths.edges[-1]
    step = round_step(max(widths.amounts) / 4)
    lines = math.ceil(max(widths.amounts) / step)
    unit = (bottom - top) / (lines * step)
    xs = [left + (right - left) * (edge - first) / (last - first) for edge in widths.edges]
    rows = [(f"{low:g} to {high:g}", amount) for low, high, amount
            in zip(widths.edges, widths.edges[1:], widths.amounts, strict=False)]
    parts = []
    for i in range(lines + 1):
        y = bottom - i * step * unit
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"></line><text '
                     f'x="{left - 8}" y="{y + 4:.1f}" class="end">{i * step:,.10g}</text>\n')
    for x, x2, (name, amount) in zip(xs, xs[1:], rows):
        height = amount * unit
        parts.append(f'<rect x="{x + .5:.1f}" y="{bottom - height:.1f}" width="{x2 - x - 1:.1f}" '
                     f'height="{height:.1f}"><title>{name}: {show(amount)}</title></rect>\n')
    parts += [f'<text x="{x:.1f}" y="{bottom + 19}" class="middle">{edge:g}</text>\n'
              for x, edge in [*zip(xs, widths.edges)][::math.ceil(len(xs) / 13)]]
    peak = max(rows, key=lambda row: row[1])
    amount, width = escape(widths.amount), escape(widths.width)
    return (f'<svg viewBox="0 0 800 290" role="img" aria-labelledby="chart-title chart-text">\n'
            f'<title id="chart-title">{amount} by {width}</title>\n'
            f'<desc id="chart-text">{len(rows)} bars from {first:g} to {last:g}; the highest, '
            f'{peak[0]}, is {show(peak[1])}.</desc>\n'
            f'{"".join(parts)}<text x="0" y="14">{amount}</text>\n'
            f'<text x="{right}" y="{bottom + 45}" class="end">{width}</text>\n</svg>\n'
            f'<details><summary>The numbers</summary>\n'
            f'{table(rows, (widths.width, widths.amount))}\n</details>')


def round_step(value: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, ... (or 0.1, 0.2, ...) that is at least value > 0."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * part for part in (1, 2, 5, 10) if power * part >= value)
