"""The picture of a run of bench/gateway: four panels in one SVG, written by hand, since that is shorter than the burden of a library."""
import math

COLOR = {"direct": "#9aa0a6", "nginx": "#4f6d8f", "HAProxy": "#5f9e8f", "hearth, ledger off": "#e8b04a", "hearth": "#c8452f", "hearth, cloud": "#8e4a7b"}
SAID = {"direct": "no proxy", "hearth": "hearth, whole record", "hearth, cloud": "hearth, record, zone cloud"}
INK, FAINT, GRID = "#20242a", "#6b7280", "#e3e6ea"
WIDE, HIGH = 1040, 760
PANEL_W, PANEL_H = 480, 300


def text(x, y, s, size=12, anchor="start", color=INK, weight="normal"):
    s = str(s).replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{color}" font-weight="{weight}">{s}</text>'


def rule(x1, y1, x2, y2, color=GRID, width=1.0, dash=""):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" stroke-width="{width}"{f" stroke-dasharray={dash!r}" if dash else ""}/>'


def short(v):
    return f"{v:,.0f}" if v >= 100 or v == int(v) else f"{v:.2g}" if v < 10 else f"{v:.0f}"


def steps(top):
    """Round numbers from 0 to `top`, about five."""
    raw = top / 4.5
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw)
    return [i * step for i in range(int(top / step + 1e-9) + 1)]


def curves(x, y, title, below, names, series):
    """series: name → [value a category]."""
    left, top, w, h = x + 44, y + 44, PANEL_W - 60, PANEL_H - 92
    most = max(v for row in series.values() for v in row) * 1.08
    out = [text(x, y + 14, title, 14, weight="600")]
    for v in steps(most):
        at = top + h - h * v / most
        out += [rule(left, at, left + w, at), text(left - 8, at + 4, short(v), 11, "end", FAINT)]
    place = [left + w * (i + 0.5) / len(names) for i in range(len(names))]
    out += [text(p, top + h + 18, n, 11, "middle", FAINT) for p, n in zip(place, names)] + [text(left + w / 2, top + h + 36, below, 11, "middle", FAINT)]
    for name, row in series.items():
        points = [(p, top + h - h * v / most) for p, v in zip(place, row)]
        out.append(f'<polyline fill="none" stroke="{COLOR[name]}" stroke-width="2.2" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.4" fill="{COLOR[name]}"/>' for a, b in points]
    return out


def spans(x, y, title, below, rows, limit=None):
    """rows: name → values from small to large, drawn on a logarithmic axis as one bar with a mark and a number each. limit: (value, text)."""
    left, top, w, h = x + 8, y + 44, PANEL_W - 40, PANEL_H - 92
    every = [v for row in rows.values() for v in row] + ([limit[0]] if limit else [])
    low, high = math.log10(max(min(every), 1e-9) * 0.75), math.log10(max(every) * 1.45)
    at = lambda v: left + w * (math.log10(max(v, 1e-9)) - low) / (high - low)
    out = [text(x, y + 14, title, 14, weight="600")]
    ticks = [m * 10 ** e for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    ticks = [t for t in ticks if low <= math.log10(t) <= high]
    for t in ticks if len(ticks) < 10 else [t for t in ticks if abs(math.log10(t) - round(math.log10(t))) < 1e-9]:
        out += [rule(at(t), top, at(t), top + h), text(at(t), top + h + 18, short(t), 11, "middle", FAINT)]
    out.append(text(left + w / 2, top + h + 36, below, 11, "middle", FAINT))
    if limit:
        out += [rule(at(limit[0]), top - 6, at(limit[0]), top + h, INK, 1.2, "4 3"), text(at(limit[0]), top - 11, limit[1], 11, "middle", INK)]
    gap = h / len(rows)
    for i, (name, row) in enumerate(rows.items()):
        mid = top + gap * (i + 0.5) + 5
        out.append(rule(at(row[0]), mid, at(row[-1]), mid, COLOR[name], 5))
        for k, v in enumerate(row):
            out += [f'<circle cx="{at(v):.1f}" cy="{mid:.1f}" r="{5 if k == 0 else 3.6}" fill="{COLOR[name]}" stroke="#ffffff" stroke-width="1.2"/>',
                    text(at(v), mid - 9, short(v), 10.5, "middle", INK)]
    return out


def legend(y, names):
    out, x = [], 40
    for n in names:
        out += [f'<rect x="{x}" y="{y - 10}" width="14" height="12" rx="2" fill="{COLOR[n]}"/>', text(x + 20, y, SAID.get(n, n), 12.5)]
        x += 44 + 7.2 * len(SAID.get(n, n))
    return out


def svg(r):
    order = list(COLOR)
    in_order = lambda section: [n for n in order if n in r.names(section)]
    out = [text(40, 34, "What a call through hearth costs, beside nginx and HAProxy", 19, weight="600")]
    out += legend(62, [n for n in order if any(n in r.names(s) for s in ("closed", "open", "streams"))])
    ways = [n for n in in_order("closed") if n != "direct"]
    if ways:
        out += curves(40, 92, "CPU a call, µs (2 KB prompt, not streamed)", "connections", ("1", "16", "64", "256"),
                      {n: [r.of("closed", n, k, "cpu_us") for k in (1, 16, 64, 256)] for n in ways})
        rows = {n: sorted(max(r.added("closed", n, 1, k), 1) for k in ("p50", "p99")) for n in ways}
        out += spans(550, 92, "Latency added, one connection", "µs; p50 and p99", rows)
    if r.names("open"):
        out += spans(40, 424, "Latency at 500 calls a second, open loop", "µs; p50, p99 and p99.9",
                     {n: [max(r.of("open", n, 500, k), 1) for k in ("p50", "p99", "p999")] for n in in_order("open")})
    if r.names("streams"):
        out += spans(550, 424, "64 streams, 50 tokens a second each: how late a token is", "ms; p50, p99 and the latest of all",
                     {n: [max(r.of("streams", n, 64, k, 1e-3), 0.001) for k in ("p50", "p99", "max")] for n in in_order("streams")}, (20, "the next token is due"))
    lite = r.of("litellm", "LiteLLM", 16, "cpu_us")
    foot = r.about().split(". ")[0].split("; ")[0] + (f". LiteLLM takes {lite:,.0f} µs of CPU a call, which is off this scale." if lite else ".")
    out.append(text(40, HIGH - 18, foot, 11.5, color=FAINT))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" width="{WIDE}" height="{HIGH}" font-family="system-ui, -apple-system, Segoe UI, DejaVu Sans, sans-serif">'
            f'<rect width="{WIDE}" height="{HIGH}" fill="#ffffff"/>' + "\n".join(out) + "</svg>\n")
