"""What the finder reaches on the labelled documents beside the repository (../shared/pii), against what it reached before: a floor for each type, and
ceilings for what leaks, for look-alikes that are touched, and for bytes that are masked without need. The same input gives the same numbers everywhere.

    test_goals.py GUARD_RAW        exit code 77: the documents are not there
"""
import json
import pathlib
import subprocess
import sys
import tempfile

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "pii"

FLOORS = {"EMAIL": 0.995, "PHONE": 0.995, "CREDIT_CARD": 0.995, "IBAN": 0.995, "US_SSN": 0.99, "NATIONAL_ID": 0.99, "PASSPORT": 0.99, "IP_ADDRESS": 0.995,
          "MAC_ADDRESS": 0.995, "DATE_OF_BIRTH": 0.99, "PERSON": 0.98, "ADDRESS": 0.98, "SECRET": 0.995}
MOST_LEAKED = {"secret": 0.0, "structured": 0.001, "all": 0.04}     # documents with a value that is not masked in full
MOST_TOUCHED, MOST_OVERMASKED = 0.0005, 0.0005


def score(guard_raw, folder):
    predicted, numbers = folder / "predicted.jsonl", folder / "score.json"
    with open(predicted, "wb") as f:
        subprocess.run([guard_raw, "find", SHARED / "dev.jsonl"], stdout=f, check=True)
    table = subprocess.run([sys.executable, SHARED / "score.py", SHARED / "dev.jsonl", predicted, "--json", numbers], check=True, capture_output=True, text=True).stdout
    return table, json.loads(numbers.read_text())


def breaches(s):
    for kind, floor in FLOORS.items():
        if s["types"][kind]["f1"] < floor:
            yield f"{kind}: F1 {s['types'][kind]['f1']:.4f}, the floor is {floor}"
    for what, most in MOST_LEAKED.items():
        if s["leak"][what]["strict"] > most:
            yield f"leak of {what}: {s['leak'][what]['strict']:.4f}, at most {most}"
    if s["neg_rate"] > MOST_TOUCHED:
        yield f"look-alikes touched: {s['neg_rate']:.5f}, at most {MOST_TOUCHED}"
    if s["overmask"] > MOST_OVERMASKED:
        yield f"masked without need: {s['overmask']:.5f}, at most {MOST_OVERMASKED}"


def main():
    if not (SHARED / "dev.jsonl").exists():
        print(f"{SHARED} is not there")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        table, numbers = score(sys.argv[1], pathlib.Path(folder))
    print(table)
    found = list(breaches(numbers))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
