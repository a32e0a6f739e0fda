"""What the finder reaches on labelled documents: those beside the repository (../shared/pii), which the rules were made with, and the second set (second_set.py), which they were
not, and what the second takes away. Held are a floor for each type, and ceilings for what leaks, for look-alikes that are touched, and for bytes that are masked without
need. The same input gives the same numbers everywhere.

    test_goals.py GUARD_RAW [--json]    exit code 77: the scorer and the first set are not there
"""
import collections
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "pii"

Goals = collections.namedtuple("Goals", "floors leaked touched overmasked")     # F1; shares of documents, of look-alikes, of bytes
FIRST = Goals({"EMAIL": 0.995, "PHONE": 0.995, "CREDIT_CARD": 0.995, "IBAN": 0.995, "US_SSN": 0.99, "NATIONAL_ID": 0.99, "PASSPORT": 0.99, "IP_ADDRESS": 0.995,
               "MAC_ADDRESS": 0.995, "DATE_OF_BIRTH": 0.99, "PERSON": 0.98, "ADDRESS": 0.98, "SECRET": 0.995},
              {"secret": 0.0, "structured": 0.001, "all": 0.04}, 0.0005, 0.0005)
SECOND = Goals({"EMAIL": 0.995, "PHONE": 0.955, "CREDIT_CARD": 0.995, "IBAN": 0.995, "US_SSN": 0.99, "NATIONAL_ID": 0.975, "PASSPORT": 0.92, "IP_ADDRESS": 0.995,
                "MAC_ADDRESS": 0.995, "DATE_OF_BIRTH": 0.935, "PERSON": 0.90, "ADDRESS": 0.93, "SECRET": 0.985},
               {"secret": 0.025, "structured": 0.065, "all": 0.29}, 0.0015, 0.001)
SECOND_SHA256 = "69a3be21c9709a1a1f9d25023ce1b3e5a15b45e6036456e574bccb787fff0b5a"       # floors are of these documents


def score(guard_raw, gold, folder):
    predicted, numbers = folder / "predicted.jsonl", folder / "score.json"
    with open(predicted, "wb") as f:
        subprocess.run([guard_raw, "find", gold], stdout=f, check=True)
    table = subprocess.run([sys.executable, SHARED / "score.py", gold, predicted, "--json", numbers], check=True, capture_output=True, text=True).stdout
    return table, json.loads(numbers.read_text())


def breaches(name, s, goals):
    for kind, floor in goals.floors.items():
        if s["types"][kind]["f1"] < floor:
            yield f"{name}: {kind}: F1 {s['types'][kind]['f1']:.4f}, the floor is {floor}"
    for what, most in goals.leaked.items():
        if s["leak"][what]["strict"] > most:
            yield f"{name}: leak of {what}: {s['leak'][what]['strict']:.4f}, at most {most}"
    if s["neg_rate"] > goals.touched:
        yield f"{name}: look-alikes touched: {s['neg_rate']:.5f}, at most {goals.touched}"
    if s["overmask"] > goals.overmasked:
        yield f"{name}: masked without need: {s['overmask']:.5f}, at most {goals.overmasked}"


def compare(first, second):
    yield f"{'F1 (overlap)':14}{'first':>8}{'second':>8}{'differs':>9}   of the second: {'values':>6} {'precision':>9} {'recall':>7}"
    for kind in FIRST.floors:
        a, b = first["types"][kind], second["types"][kind]
        yield f"{kind:14}{a['f1']:8.3f}{b['f1']:8.3f}{b['f1'] - a['f1']:+9.3f}   {b['gold']:21d} {b['p']:9.3f} {b['r']:7.3f}"
    for what in ("secret", "structured", "all"):
        a, b = first["leak"][what]["strict"], second["leak"][what]["strict"]
        yield f"leak {what:10}{a:7.1%}{b:8.1%}{b - a:+9.1%}"
    yield f"{'look-alikes':14}{first['neg_rate']:8.2%}{second['neg_rate']:8.2%}{second['neg_rate'] - first['neg_rate']:+9.2%}   touched of {sum(k['n'] for k in second['neg'].values())}"


def main():
    if not (SHARED / "dev.jsonl").exists():
        print(f"{SHARED} is not there")
        return 77
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        documents = subprocess.run([sys.executable, pathlib.Path(__file__).with_name("second_set.py")], check=True, capture_output=True).stdout
        (folder / "second.jsonl").write_bytes(documents)
        tables, numbers = zip(*(score(sys.argv[1], gold, folder) for gold in (SHARED / "dev.jsonl", folder / "second.jsonl")))
    found = [b for name, s, goals in (("first", numbers[0], FIRST), ("second", numbers[1], SECOND)) for b in breaches(name, s, goals)]
    if hashlib.sha256(documents).hexdigest() != SECOND_SHA256:
        found.append(f"the second set changed: its SHA-256 is {hashlib.sha256(documents).hexdigest()}; its floors were held by another")
    if "--json" in sys.argv[2:]:
        print(json.dumps({"first": numbers[0], "second": numbers[1], "breaches": found}, indent=1))
    else:
        print(*tables, *compare(*numbers), *found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
