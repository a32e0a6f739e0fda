#!/usr/bin/env python3
"""What the finder masks in text that nobody wrote for it: 20 MB of Debian's packages, Python's library, C headers, manual pages. Most of it holds nothing private, so
what is masked shows what the finder masks without need; who wrote what is in it too, and is right to be masked.

    wild.py GUARD_RAW              masks per MB by type, and of the labelled sample what is right and wrong; exit code 1: more wrong masks than MOST_WRONG
    wild.py GUARD_RAW --show       the sample with its surroundings, a paragraph a mask, with its label where it has one
    wild.py GUARD_RAW --update     writes wild-labels.tsv again for the sample of this finder: labels of the same mask stay, new ones are "?"
    wild.py GUARD_RAW --json       the same numbers for programs

Right is what names, or lets reach, somebody: an author's name or address, too, and a key that could be somebody's. Wrong is anything else. The labels were given by
reading each mask with its surroundings. The text is chosen by the hash of each file's path, so it is the same wherever the same versions of the packages are; the sample
likewise by the hash of each mask's file, place in the order of equal masks and text, so that a change of the finder changes as little of the sample as can be. The text
is not kept, nor are the masks: the labels know each by its hash.
"""
import argparse, collections, gzip, hashlib, json, pathlib, subprocess, sys, tempfile

LABELS = pathlib.Path(__file__).with_name("wild-labels.tsv")
SAMPLE, SEED = 300, "wild 1"
MOST_WRONG = 5.0        # per MB
MEGABYTES = {"python": 8, "c": 8, "man": 4}
# What tools/setup installs, and what every Debian has: so that who builds hearth has the text, too.
PACKAGES = {
    "python": ["libpython3.11-minimal", "libpython3.11-stdlib", "python3.11-venv"],
    "c": ["libc6-dev", "linux-libc-dev", "libstdc++-12-dev", "libssl-dev", "libcurl4-openssl-dev", "libsqlite3-dev", "libuv1-dev", "libzstd-dev", "libyaml-dev", "libjson-c-dev", "libcmocka-dev"],
    "man": ["bash", "coreutils", "curl", "dpkg", "grep", "gzip", "login", "manpages", "manpages-dev", "mount", "openssl", "passwd", "procps", "sed", "tar", "util-linux", "valgrind"],
}
WHICH = {"python": ("/usr/lib/", ".py"), "c": ("/usr/include/", ".h"), "man": ("/usr/share/man/", ".gz")}


def digest(*parts):
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogateescape")).hexdigest()


def versions():
    names = [p for kind in PACKAGES.values() for p in kind]
    out = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *names], capture_output=True, text=True).stdout
    return dict(line.split(" ", 1) for line in out.splitlines() if line.count(" "))


def text_of(path):
    try:
        raw = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
        return raw.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError):
        return None


def chosen(kind):
    """The files of one kind, by the hash of their paths, up to so many MB."""
    listed = subprocess.run(["dpkg-query", "-L", *PACKAGES[kind]], capture_output=True, text=True).stdout.split("\n")
    size = 0
    for name in sorted({n for n in listed if n.startswith(WHICH[kind][0]) and n.endswith(WHICH[kind][1])}, key=lambda n: digest(SEED, n)):
        path = pathlib.Path(name)
        text = text_of(path) if path.is_file() and not path.is_symlink() else None
        if text is None:
            continue
        if size + len(text.encode()) <= MEGABYTES[kind] * 1_000_000:
            size += len(text.encode())
            yield name, text


def find(guard_raw, files):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "wild.jsonl")
        path.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in files.items()))
        out = subprocess.run([guard_raw, "find", path], stdout=subprocess.PIPE, check=True).stdout
    for line in out.splitlines():
        found, seen = json.loads(line), collections.Counter()
        raw = files[found["id"]].encode()
        for s in found["spans"]:
            value = raw[s["start"]:s["end"]].decode()
            seen[s["type"], value] += 1
            yield {"file": found["id"], "nth": seen[s["type"], value], "value": value, "hash": digest(s["type"], value)[:12], **s}


def key(mask):
    return mask["file"], mask["type"], mask["hash"], str(mask["nth"])


def labels():
    rows = [line.rstrip("\n").split("\t") for line in open(LABELS)] if LABELS.exists() else []
    return {tuple(r[:4]): (r[5], r[6]) for r in rows if r[0][0] != "#"}


def around(files, mask):
    raw = files[mask["file"]].encode()
    before = raw[max(0, mask["start"] - 90):mask["start"]].decode(errors="replace").replace("\n", "⏎")
    after = raw[mask["end"]:mask["end"] + 60].decode(errors="replace").replace("\n", "⏎")
    return f"{before}⟦{mask['value']}⟧{after}".replace("\n", "⏎")


def update(sample, known, of):
    with open(LABELS, "w") as f:
        f.write("# file, type, hash of type and text, which of its equals in the file, rule, right|wrong|?, why; see wild.py\n# " + of + "\n")
        for m in sorted(sample, key=key):
            f.write("\t".join((*key(m), m["rule"], *known.get(key(m), ("?", "")))) + "\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("guard_raw")
    for flag in ("show", "update", "json"):
        p.add_argument("--" + flag, action="store_true")
    a = p.parse_args()
    have = versions()
    missing = [n for kind in PACKAGES.values() for n in kind if n not in have]
    files = {name: text for kind in PACKAGES for name, text in chosen(kind)}
    if not files:
        print("none of Debian's packages is here")
        return 77
    megabytes = sum(len(t.encode()) for t in files.values()) / 1e6
    of = digest(*sorted(f"{n} {digest(t)}" for n, t in files.items()))[:12]
    masks = list(find(a.guard_raw, files))
    sample = sorted(masks, key=lambda m: digest(SEED, *key(m)))[:SAMPLE]
    known = labels()
    if a.update:
        update(sample, known, "text " + of)
    if a.show:
        for m in sorted(sample, key=key):
            print(f"{m['file']} {m['start']} {m['type']} {m['rule']} {m['score']} {m['hash']} {known.get(key(m), ('?', ''))[0]}\n    {around(files, m)}")
        return 0
    verdicts = collections.Counter(known.get(key(m), ("?",))[0] for m in sample)
    wrong = collections.Counter(m["type"] for m in sample if known.get(key(m), ("?",))[0] == "wrong")
    labelled = verdicts["right"] + verdicts["wrong"]
    types = collections.Counter(m["type"] for m in masks)
    per_mb = {t: n / megabytes for t, n in types.most_common()}
    wrong_mb = verdicts["wrong"] / max(1, labelled) * len(masks) / megabytes
    numbers = {"text": of, "megabytes": round(megabytes, 2), "files": len(files), "masks": len(masks), "masks_mb": {t: round(n, 3) for t, n in per_mb.items()}, "sample": len(sample),
               "right": verdicts["right"], "wrong": verdicts["wrong"], "unlabelled": verdicts["?"], "wrong_by_type": dict(wrong), "wrong_mb": round(wrong_mb, 2), "missing": missing, "packages": have}
    if a.json:
        print(json.dumps(numbers, indent=1))
    else:
        print(f"{megabytes:.2f} MB in {len(files)} files (text {of}), {len(masks)} masks, {len(masks) / megabytes:.2f} per MB" + (f"; not here: {' '.join(missing)}" if missing else ""))
        for t, n in per_mb.items():
            print(f"  {t:14}{types[t]:6d}{n:9.2f} per MB    in the sample {sum(m['type'] == t for m in sample):4d}, wrong {wrong[t]:4d}")
        print(f"sample of {len(sample)}: right {verdicts['right']}, wrong {verdicts['wrong']}, without a label {verdicts['?']}; wrong masks per MB {wrong_mb:.2f}, at most {MOST_WRONG}")
    if labelled * 10 < len(sample) * 9:
        print("too few of the sample have a label: the versions of the packages differ, or the finder does; label them by --show and --update")
        return 77
    return 1 if wrong_mb > MOST_WRONG else 0


if __name__ == "__main__":
    sys.exit(main())
