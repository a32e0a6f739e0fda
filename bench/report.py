"""What bench/gateway found, as tables for a terminal and for Markdown, as a plot in SVG, and against the bars that hearth must hold."""
import os, platform, re, statistics, subprocess

import plot

DURABILITY = """Ledger off: a call is decided and forwarded, nothing is kept. Rows: two rows a call (the intent before the request leaves, the end with
identity, times and usage), each hashed over the one before it, and the salted hashes of prompt and answer; one SQLite transaction for all
that waits. Whole record: prompt and answer besides, compressed. The answer's end waits for COMMIT, which is what it adds in latency: one
wake-up of the writer, one transaction, one wake-up of the loop. Under load a transaction carries many calls, so the cost of each falls
from one connection to 64. Zone cloud: the request itself waits for its intent, one more transaction before the upstream is asked. Full
sync: COMMIT also waits for the disk (fdatasync), which survives a power cut."""


def versions(a):
    def first(*command):
        try:
            r = subprocess.run(command, capture_output=True, text=True)
            return re.search(r"\d+\.\d+[.\d]*", r.stdout + r.stderr)[0]
        except (OSError, TypeError):
            return "unknown"
    out = {"hearth": first(a.hearth, "--version"), "nginx": first("nginx", "-v"), "HAProxy": first("haproxy", "-v"), "wrk": first("wrk", "-v")}
    if a.litellm:
        out["LiteLLM"] = first(a.litellm.parent / "python", "-c", "import importlib.metadata as m; print(m.version('litellm'))")
    return out


def machine():
    cpu = re.search(r"model name\s*:\s*(.*)", open("/proc/cpuinfo").read())
    return f"{os.cpu_count()} CPUs, {cpu[1].strip() if cpu else platform.machine()}"


def num(x, digits=1):
    return "" if x is None else f"{x:,.{digits}f}"


class Report:
    def __init__(self, results):
        self.r, self.c = results, results["cells"]

    def rounds(self, section, name, number, key):
        return [r[key] for r in self.c.get((section, name, number), [])]

    def of(self, section, name, number, key, scale=1):
        rows = self.rounds(section, name, number, key)
        return statistics.median(rows) * scale if rows else None

    def ratio(self, section, name, number, key, base="nginx"):
        pairs = list(zip(self.rounds(section, name, number, key), self.rounds(section, base, number, key)))
        return statistics.median(x / y for x, y in pairs) if pairs else None

    def added(self, section, name, number, key, base="direct", base_section=None):
        pairs = list(zip(self.rounds(section, name, number, key), self.rounds(base_section or section, base, number, key)))
        return statistics.median(x - y for x, y in pairs) if pairs else None

    # ---- the bars ----

    def litellm(self):
        theirs, ours = self.of("litellm", "LiteLLM", 16, "cpu_us"), self.of("closed", "hearth", 16, "cpu_us")
        return theirs / ours if theirs and ours else None

    def wide(self):
        at = [self.ratio("closed", "hearth", n, "cpu_us") for n in (64, 256)]
        return at[1] / at[0] if all(at) else None

    def bars(self):
        """Text, value, must, reach; a bar is an upper bound, unless it is written as a negative number."""
        late = [sum(self.rounds("streams", n, 64, "late")) for n in ("hearth", "direct")] if self.rounds("streams", "hearth", 64, "late") else None
        led = self.r["ledger"]
        hearth = self.r["memory"]["hearth"]
        return [
            ("CPU a call at 64 connections, whole record, times nginx's", self.ratio("closed", "hearth", 64, "cpu_us"), 2.5, 1.8),
            ("the same with the ledger off", self.ratio("closed", "hearth, ledger off", 64, "cpu_us"), 1.2, 0.8),
            ("that of 256 connections against that of 64", self.wide(), 1.2, 1.0),
            ("calls a second on one core, 64 connections", self.of("closed", "hearth", 64, "rate"), -16000, -25000),
            ("one connection: added p50, µs", self.added("closed", "hearth", 1, "p50"), 300, 200),
            ("one connection: added p99, µs", self.added("closed", "hearth", 1, "p99"), 700, 350),
            ("64 connections for a minute, checkpoints included: p99, ms", self.of("long", "hearth", 64, "p99", 1e-3), 15, 5),
            ("500 calls a second, open loop: p99, ms", self.of("open", "hearth", 500, "p99", 1e-3), 5, 1.5),
            ("tokens that came 20 ms late or more, beyond those that did so without a proxy", late and max(late[0] - late[1], 0), 0, 0),
            ("CPU a thousand paced tokens, times nginx's", self.ratio("streams", "hearth", 64, "token_us"), 2.0, None),
            ("calls a CPU second, times LiteLLM's", self.litellm(), -100, None),
            ("memory with 256 connections, the most ever, MiB", hearth["highest"], 48, None),
            ("held for its record: added p50 at one connection, µs", self.added("closed", "hearth", 1, "p50", "hearth, ledger off"), 200, 100),
            ("held for its record: added p50 at 64 connections, µs", self.added("closed", "hearth", 64, "p50", "hearth, ledger off"), 800, 400),
            ("full sync, one connection: added p50, µs", self.added("durability", "hearth, full sync", 1, "p50", "direct", "closed"), 600, 450),
            ("full sync, one connection: added p99, µs", self.added("durability", "hearth, full sync", 1, "p99", "direct", "closed"), 1000, 700),
            ("calls that the upstream saw and no row tells of", max(led["upstream_calls"] - led["intents"], 0), 0, 0),
        ]

    def verdicts(self):
        for text, value, must, reach in self.bars():
            if value is None:
                continue
            held = value >= -must if must < 0 else value <= must
            reached = reach is not None and (value >= -reach if reach < 0 else value <= reach)
            yield text, value, abs(must), reach if reach is None else abs(reach), "reached" if reached else "held" if held else "MISSED"

    # ---- tables ----

    def names(self, section):
        return list(dict.fromkeys(n for s, n, _ in self.c if s == section))

    def table_closed(self):
        head = ["", *(f"CPU µs a call, {n} conn." for n in (1, 16, 64, 256)), "× nginx at 64", "calls/s at 64", "p50 / p99 ms at 64", "added p50 / p99 µs at 1"]
        for n in self.names("closed"):
            if n == "direct":
                continue
            yield head, [n, *(num(self.of("closed", n, k, "cpu_us")) for k in (1, 16, 64, 256)), num(self.ratio("closed", n, 64, "cpu_us"), 2), num(self.of("closed", n, 64, "rate"), 0),
                         f"{num(self.of('closed', n, 64, 'p50', 1e-3), 2)} / {num(self.of('closed', n, 64, 'p99', 1e-3), 2)}",
                         f"{num(self.added('closed', n, 1, 'p50'), 0)} / {num(self.added('closed', n, 1, 'p99'), 0)}"]

    def table_streams(self):
        head = ["", "CPU ms a 1,000 tokens", "× nginx", "late by, ms: p50", "p99", "p99.9", "most", "20 ms late or more"]
        for n in self.names("streams"):
            cpu = [num(self.of("streams", n, 64, "token_us", 1e-3), 2), num(self.ratio("streams", n, 64, "token_us"), 2)] if n != "direct" else ["", ""]
            yield head, [n, *cpu, *(num(self.of("streams", n, 64, k, 1e-3), 2) for k in ("p50", "p99", "p999", "max")),
                         f"{sum(self.rounds('streams', n, 64, 'late'))} of {sum(self.rounds('streams', n, 64, 'n')):,}"]

    def table_open(self):
        head = ["", "CPU µs a call", "p50 µs", "p99 µs", "p99.9 µs", "added p50 / p99 µs"]
        for n in self.names("open"):
            added = f"{num(self.added('open', n, 500, 'p50'), 0)} / {num(self.added('open', n, 500, 'p99'), 0)}" if n != "direct" else ""
            yield head, [n, num(self.of("open", n, 500, "cpu_us")) if n != "direct" else "", *(num(self.of("open", n, 500, k), 0) for k in ("p50", "p99", "p999")), added]

    def table_long(self):
        head = ["", "calls", "calls/s", "p50 ms", "p99 ms", "p99.9 ms", "most ms"]
        for n in self.names("long"):
            yield head, [n, num(self.of("long", n, 64, "calls"), 0), num(self.of("long", n, 64, "rate"), 0), *(num(self.of("long", n, 64, k, 1e-3), 2) for k in ("p50", "p99", "p999", "max"))]

    def table_durability(self):
        head = ["", "CPU µs a call, 1 conn.", "64 conn.", "added p50 / p99 µs, 1 conn.", "p50 ms, 64 conn."]
        for text, section, n in (("ledger off", "closed", "hearth, ledger off"), ("rows and hashes", "durability", "hearth, no bodies"), ("whole record", "closed", "hearth"),
                                 ("whole record, zone cloud", "closed", "hearth, cloud"), ("whole record, full sync", "durability", "hearth, full sync")):
            if (section, n, 1) not in self.c:
                continue
            yield head, [text, num(self.of(section, n, 1, "cpu_us")), num(self.of(section, n, 64, "cpu_us")),
                         f"{num(self.added(section, n, 1, 'p50', 'direct', 'closed'), 0)} / {num(self.added(section, n, 1, 'p99', 'direct', 'closed'), 0)}",
                         num(self.of(section, n, 64, "p50", 1e-3), 2)]

    def table_memory(self):
        for n, m in self.r["memory"].items():
            yield ["", "MiB with 256 idle connections", "after everything", "the most ever"], [n, num(m["idle_256"]), num(m["after"]), num(m["highest"])]

    def table_litellm(self):
        if self.names("litellm"):
            yield (["", "CPU µs a call, 16 conn.", "calls/s"],
                   ["LiteLLM", num(self.of("litellm", "LiteLLM", 16, "cpu_us"), 0), num(self.of("litellm", "LiteLLM", 16, "rate"), 0)])

    def table_bars(self):
        for text, value, must, reach, verdict in self.verdicts():
            digits = 2 if abs(value) < 10 and value != int(value) else 0
            plain = lambda x: "" if x is None else f"{x:,g}" if x < 1000 else f"{x:,.0f}"
            yield ["bar", "measured", "must", "reach", ""], [text, num(value, digits), plain(must), plain(reach), verdict]

    def tables(self):
        """Title, head, rows, and a text that belongs below."""
        led = self.r["ledger"]
        every = [("Calls with 2 KB prompts, not streamed", self.table_closed, ""), ("64 streams at 50 tokens a second", self.table_streams, ""),
                 ("500 calls a second, open loop; latency counts from the moment a call was due", self.table_open, ""),
                 ("Without a pause, 64 connections", self.table_long, ""), ("What durability costs", self.table_durability, DURABILITY), ("Memory", self.table_memory, ""),
                 ("LiteLLM", self.table_litellm, ""),
                 ("Bars", self.table_bars, f"The upstream was asked {led['upstream_calls']:,} times by the recording hearth; its ledger has {led['intents']:,} intents and passes `hearth verify`.")]
        for title, rows, below in every:
            rows = list(rows())
            if rows:
                yield title, rows[0][0], [r for _, r in rows], below

    def about(self):
        v, o = ", ".join(f"{k} {x}" for k, x in self.r["versions"].items()), self.r["others"]
        return (f"{machine()}; {v}. The gateway under test on one core, load and upstream on another. Medians of {self.r['rounds']} rounds of {self.r['seconds']} s a cell; ratios and differences within a round. "
                f"Other programs meanwhile: {o['median']:.2f} cores in the median cell, {o['max']:.2f} in the worst.")

    def text(self):
        out = [self.about()]
        for title, head, rows, below in self.tables():
            wide = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
            line = lambda r: "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, wide))).rstrip()
            out += ["", title, line(head), *map(line, rows), *([below] if below else [])]
        return "\n".join(out)

    def markdown(self):
        out = ["# The gateway's cost", "", "Made by `make bench`; how is told at the top of `bench/gateway`.", "", self.about(), "", "![Cost beside nginx and HAProxy](gateway.svg)"]
        for title, head, rows, below in self.tables():
            line = lambda r: "| " + " | ".join(r) + " |"
            out += ["", f"## {title}", "", line(head), line(["---"] + ["---:"] * (len(head) - 1)), *map(line, rows), *(["", below] if below else [])]
        return "\n".join(out) + "\n"

    def json(self):
        cells = [{"section": s, "target": n, "number": k, "rounds": rows} for (s, n, k), rows in self.c.items()]
        return {**self.r, "cells": cells, "machine": machine(), "bars": [dict(zip(("bar", "value", "must", "reach", "verdict"), b)) for b in self.verdicts()]}

    def svg(self):
        return plot.svg(self)
