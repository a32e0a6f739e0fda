#!/usr/bin/env python3
"""A second labelled set: 1,000 documents in the line format of the first (../shared/pii/dev.jsonl), of other kinds, templates, countries and look-alikes, which no rule
was made with. It is written from one seed, so it is the same everywhere.

    second_set.py [--seed 20261126] [--documents 1000] > second.jsonl

Labels follow the words of ../shared/pii/score.py: PERSON without its title, ADDRESS from the street to the town as one span, SECRET the value only. Companies and towns that
stand alone are `ignore`: masking them is no mistake. The domains of mail are made of syllables.
"""
import argparse, base64, datetime, json, random, sys, unicodedata

import second_locales as places

SYLLABLES = "bre cor dal fen gri hol jun kel lum mor nav oss pir quen rud sel tam ulv wex yor".split()
COMPANIES = ["Nordlicht Optik GmbH", "Brightwater Dental Ltd", "Sunridge Freight Inc.", "Kaleido Print AB", "Verdana Foods S.A.", "Tulip & Sons B.V."]
THINGS = "kettle router invoice bicycle sofa printer subscription parcel heater camera lamp blender".split()


class Doc:
    """A text that knows where its values lie, in bytes."""

    def __init__(self, r, locale):
        self.r, self.locale, self.l = r, locale, places.LOCALES[locale]
        self.bytes, self.spans, self.neg, self.ignore = b"", [], [], []

    def put(self, *parts):
        """Text, or pairs of a type and a value: ("PERSON", "Ada King"), ("neg:uuid", …), ("ignore", …)."""
        for part in parts:
            text, what = (part, None) if isinstance(part, str) else (part[1], part)
            place = {"start": len(self.bytes), "end": len(self.bytes) + len(text.encode())}
            self.bytes += text.encode()
            if what is None:
                continue
            if what[0] == "ignore":
                self.ignore.append(place)
            elif what[0].startswith("neg:"):
                self.neg.append({**place, "kind": what[0][4:]})
            else:
                self.spans.append({**place, "type": what[0], **({"sub": what[2]} if len(what) > 2 else {})})
        return self

    def line(self, *parts):
        return self.put(*parts, "\n")

    def fill(self, template, **values):
        """A sentence with {name}s of values that are pairs."""
        for piece in template.split("{"):
            name, closed, rest = piece.partition("}")
            self.put(values[name] if closed else name, rest)
        return self


class Person:
    def __init__(self, doc):
        r, l = doc.r, doc.l
        self.doc = doc
        self.first, self.last = r.choice(l["first"].split()), r.choice(l["last"].split()).replace("_", " ")
        eastern = l["lang"] in ("ja", "ko")
        self.full = self.last + (" " if l["lang"] == "ja" and r.random() < .5 else "") + self.first if eastern else f"{self.first} {self.last}"
        self.birth = datetime.date(r.randrange(1945, 2006), r.randrange(1, 13), r.randrange(1, 29))
        plain = unicodedata.normalize("NFKD", f"{self.first}.{self.last}".lower().replace("ł", "l").replace("ı", "i")).encode("ascii", "ignore").decode().replace(" ", "")
        if eastern:
            plain = "".join(r.sample(SYLLABLES, 3))
        self.user = r.choice([plain, plain.split(".")[0][:1] + plain.split(".")[-1], plain.split(".")[-1] + str(r.randrange(2, 99))])
        self.domain = "".join(r.sample(SYLLABLES, 2)) + r.choice([".com", ".net", ".org", ".io", "-group.eu", "." + ("co.uk" if doc.locale == "en_GB" else doc.locale[-2:].lower())])
        street, city = r.choice(l["streets"].split()).replace("_", " "), r.choice(l["cities"].split()).replace("_", " ")
        numbers = {"n": r.randrange(1, 99), "m": r.randrange(1, 9), "uf": r.choice("SP RJ PR MG RS".split()), "st": r.choice("Street Avenue Drive Lane Close Road".split()), "state": r.choice("OK ID OH NV OR".split()),
                   "AA": places.shape(r, "AA"), "n4": places.shape(r, "%###"), **{f"d{k}": places.shape(r, "%" + "#" * (k - 1)) for k in range(2, 7)}}
        self.street_city = l["address"].format(street=street, city=city, **numbers)

    name = property(lambda s: ("PERSON", s.full))
    given = property(lambda s: ("PERSON", s.first))
    family = property(lambda s: ("PERSON", s.last))
    mail = property(lambda s: ("EMAIL", f"{s.user}@{s.domain}"))
    phone = property(lambda s: ("PHONE", places.shape(s.doc.r, s.doc.r.choice(s.doc.l["phones"])), s.doc.locale[-2:]))
    born = property(lambda s: ("DATE_OF_BIRTH", s.birth.strftime(s.doc.r.choice(s.doc.l["dates"]))))
    address = property(lambda s: ("ADDRESS", s.street_city.lstrip("〒")))

    @property
    def id(self):
        if self.doc.locale == "en_US":
            return ("US_SSN", places.ssn(self.doc.r))
        text, sub = places.national_id(self.doc.r, self.doc.locale, self.birth)
        return ("NATIONAL_ID", text, sub) if text else self.phone

    @property
    def passport(self):
        return ("PASSPORT", places.shape(self.doc.r, places.PASSPORTS[self.doc.locale]))


# ---- values ----

def hexes(r, n): return "".join(r.choice("0123456789abcdef") for _ in range(n))
def letters(r, n, more=""): return "".join(r.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" + more) for _ in range(n))
def uuid(r): return ("neg:uuid", f"{hexes(r, 8)}-{hexes(r, 4)}-4{hexes(r, 3)}-{r.choice('89ab')}{hexes(r, 3)}-{hexes(r, 12)}")
def commit(r): return ("neg:git", hexes(r, 40))
def version(r): return ("neg:ver", f"{r.randrange(1, 30)}.{r.randrange(60)}.{r.randrange(300)}" + r.choice(["", "-beta2", "+build7", "~rc1"]))
def order(r): return ("neg:order", places.digits(r, r.choice([8, 9, 11, 12]), range(1, 10)))
def stamp(r): return f"2026-{r.randrange(1, 11):02}-{r.randrange(1, 29):02} {r.randrange(24):02}:{r.randrange(60):02}:{r.randrange(60):02}"
def mac(r): return ("MAC_ADDRESS", r.choice(":-").join(f"{r.randrange(0, 256) & ~1 | 2 if i == 0 else r.randrange(256):02{c}}" for c in [r.choice("xX")] for i in range(6)))


def ip(r):
    kind = r.random()
    if kind < .25:
        return ("IP_ADDRESS", f"2a{r.randrange(1, 16):02x}:{hexes(r, 3).lstrip('0') or '1'}:{hexes(r, 4).lstrip('0') or '1'}::{hexes(r, 4).lstrip('0') or '1'}", "v6")
    if kind < .5:
        return ("IP_ADDRESS", r.choice([f"10.{r.randrange(256)}.{r.randrange(256)}.{r.randrange(1, 255)}", f"192.168.{r.randrange(256)}.{r.randrange(1, 255)}"]), "v4")
    return ("IP_ADDRESS", f"{r.choice([31, 46, 62, 78, 81, 95, 109, 141, 178, 188])}.{r.randrange(1, 255)}.{r.randrange(256)}.{r.randrange(1, 255)}", "v4")


def password(r):
    word = "".join(r.sample(SYLLABLES, 2)).capitalize()
    return ("SECRET", r.choice([word + r.choice("!#$+") + str(r.randrange(10, 9999)), letters(r, r.randrange(10, 18), "!#*-_"), f"{word}{r.randrange(100)}{r.choice('.!?')}{letters(r, 3)}"]), "PASSWORD")


def token(r):
    return ("SECRET", *r.choice([
        ("glpat-" + letters(r, 20, "-_"), "GITLAB"), ("sk_live_" + letters(r, 24), "STRIPE"), (f"SG.{letters(r, 22, '-_')}.{letters(r, 43, '-_')}", "SENDGRID"), ("npm_" + letters(r, 36), "NPM"),
        ("AIza" + letters(r, 35, "-_"), "GOOGLE"), ("hf_" + "".join(c for c in letters(r, 60) if c.isalpha())[:34], "HUGGINGFACE"), ("dop_v1_" + hexes(r, 64), "DIGITALOCEAN"), ("pypi-AgEIcHlwaS5vcmc" + letters(r, 90, "-_"), "PYPI"),
        ("ghp_" + letters(r, 36), "GITHUB"), ("xoxp-" + "-".join(places.digits(r, 12, range(1, 9)) for _ in range(3)) + "-" + hexes(r, 32), "SLACK"), ("sk-ant-api03-" + letters(r, 93, "-_") + "AA", "ANTHROPIC"),
        ("AKIA" + "".join(r.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(16)), "AWS_ACCESS_KEY"), ("hvs." + letters(r, 95, "-_"), "VAULT"), ("tskey-auth-" + letters(r, 12) + "-" + letters(r, 32), "TAILSCALE"),
    ]))


def key_value(r):
    return ("SECRET", r.choice([letters(r, 32), hexes(r, 48), base64.b64encode(r.randbytes(32)).decode(), letters(r, 40, "-_")]), "KEY")


# ---- documents: each takes (doc, r) and returns its kind ----

def thread(d, r):
    a, b = Person(d), Person(d)
    d.line("Message-ID: <", hexes(r, 16), "@mx.localhost>").line("From: ", a.name, " <", a.mail, ">").line("To: \"", b.name, "\" <", b.mail, ">").line("Subject: Re: ", r.choice(THINGS), " collection, ref ", order(r), "\n")
    d.line(r.choice(["Thanks", "Hi", "Hello"]), " ", b.given, ",\n").line("that works. If the driver is early my number is ", a.phone, ".\n").line(r.choice(["Best wishes", "Kind regards"]), ",").line(a.name).line(("ignore", r.choice(COMPANIES))).line(a.address, "\n")
    d.line("On ", stamp(r), ", ", b.name, " wrote:").line("> Hello ", a.given, ",").line("> we will collect the ", r.choice(THINGS), " on Monday.").line("> ", b.given)
    return "mail"


def local_letter(d, r):
    p = Person(d)
    return d.fill(r.choice(d.l["says"]), name=p.name, id=p.id, phone=p.phone, address=p.address, mail=p.mail) and "letter"


def local_form(d, r):
    p, l = Person(d), d.l["label"]
    rows = [(l["name"], p.name), (l["birth"], p.born), (l["address"], p.address), (l["phone"], p.phone), (l["mail"], p.mail), (l["passport"], p.passport), (l["order"], order(r))]
    rows += [(l["id"], p.id)] if l["id"] else []
    r.shuffle(rows)
    for label, value in rows[:r.randrange(4, 8)]:
        d.line(label, r.choice([": ", ":\t", " - "]) if label != l["passport"] else ": ", value)
    return "form"


def hl7(d, r):
    p, doctor = Person(d), Person(d)
    d.line("MSH|^~\\&|LAB|", ("ignore", "ST MARY"), "|EHR||", stamp(r).replace("-", "").replace(" ", "").replace(":", ""), "||ADT^A01|", ("neg:order", places.digits(r, 9, [3])), "|P|2.5")
    d.line("PID|1||", ("neg:order", places.digits(r, 7, [4])), "^^^MRN||", ("PERSON", f"{p.last}^{p.first}"), "||", ("DATE_OF_BIRTH", p.birth.strftime("%Y%m%d")), "|F|||", p.address, "||", p.phone)
    d.line("PV1|1|I|W", str(r.randrange(1, 9)), "^", str(r.randrange(100, 400)), "||||", ("PERSON", f"{doctor.last}^{doctor.first}"), "|||MED")
    return d.line("OBX|1|NM|718-7^HGB||", ("neg:float", f"{r.uniform(9, 17):.1f}"), "|g/dL|12.0-16.0|N") and "hl7"


def auth_log(d, r):
    for _ in range(r.randrange(3, 7)):
        where = ip(r)
        d.line(r.choice(["Mar", "Oct", "Nov"]), f" {r.randrange(10, 28)} {stamp(r)[11:]} bastion sshd[", ("neg:pid", str(r.randrange(1000, 65000))), "]: ", r.choice(["Failed password for invalid user oracle from ", "Accepted publickey for deploy from ", "Disconnected from authenticating user root "]),
               where, " port ", str(r.randrange(20000, 65000)), r.choice([" ssh2", " [preauth]"]))
    return d.line("sshd[", str(r.randrange(1000, 9999)), "]: key fingerprint SHA256:", ("neg:fingerprint", base64.b64encode(r.randbytes(32)).decode().rstrip("="))) and "log"


def web_log(d, r):
    for _ in range(r.randrange(2, 6)):
        p = Person(d)
        d.put(ip(r), " - - [", f"{r.randrange(10, 28)}/Oct/2026:{stamp(r)[11:]} +0200] \"GET /", r.choice(THINGS), "?")
        d.put(*r.choice([["email=", ("EMAIL", p.mail[1].replace("@", "%40"))], ["id=", uuid(r)], ["v=", version(r)], ["page=", str(r.randrange(1, 99))]]))
        d.line(" HTTP/2.0\" 200 ", ("neg:bytes", str(r.randrange(10000, 9999999))), " \"-\" \"Mozilla/5.0 (X11) Firefox/", ("neg:ver", f"{r.randrange(90, 140)}.0"), " rv:", ("neg:ver4", f"{r.randrange(90, 140)}.0.{r.randrange(4000, 7000)}.{r.randrange(10, 200)}"), "\"")
    return "log"


def mail_log(d, r):
    for _ in range(r.randrange(2, 5)):
        p, q = Person(d), ("neg:queue", hexes(r, 10).upper())
        d.line(stamp(r), " mx1 postfix/qmgr[", str(r.randrange(1000, 9999)), "]: ", q, ": from=<", p.mail, ">, size=", ("neg:bytes", str(r.randrange(1000, 999999))), ", nrcpt=1")
        d.line(stamp(r), " mx1 postfix/smtpd[", str(r.randrange(1000, 9999)), "]: connect from unknown[", ip(r), "]")
    return "log"


def yaml_config(d, r):
    p = Person(d)
    d.line("# values for the staging cluster").line("image: registry.internal/shop@sha256:", ("neg:digest", hexes(r, 64))).line("replicas: ", str(r.randrange(2, 9)))
    d.line("owner:").line("  name: ", p.name).line("  email: ", p.mail)
    d.line("database:").line("  host: db-", str(r.randrange(9)), ".internal").line("  port: 5432").line("  username: shop").line("  password: ", password(r))
    d.line("smtp:").line("  relay: ", ip(r)).line("  api_key: ", token(r)).line("  from: noreply@example.org")
    return d.line("chart: ", version(r)).line("resources: {cpu: 250m, memory: 1536Mi}").line("password_file: ", ("neg:path", "/run/secrets/db")) and "yaml"


def toml_config(d, r):
    p = Person(d)
    d.line("[package]").line("name = \"", r.choice(THINGS), "-sync\"").line("version = \"", version(r), "\"").line("authors = [\"", p.name, " <", p.mail, ">\"]\n").line("[dependencies]").line("serde = { version = \"", version(r), "\", checksum = \"", ("neg:sha", hexes(r, 64)), "\" }\n")
    return d.line("[registry]").line("token = \"", key_value(r), "\"").line("timeout-ms = ", ("neg:num", str(r.randrange(1000, 90000)))) and "toml"


def ini_config(d, r):
    p = Person(d)
    d.line("[imap]").line("server=", ip(r)).line("user=", p.mail).line("passwd=", password(r)).line("; old passwd=changeme was removed").line("[backup]").line("AccountKey=", ("SECRET", base64.b64encode(r.randbytes(64)).decode(), "AZURE"))
    return d.line("Id={", uuid(r), "}").line("build=", ("neg:ver4", f"10.0.{r.randrange(10000, 30000)}.{r.randrange(1, 4000)}")).line("secret=${IMAP_SECRET}") and "ini"


def pg_dump(d, r):
    d.line("COPY public.customer (id, full_name, email, phone, birth_date, last_ip, note) FROM stdin;")
    for _ in range(r.randrange(3, 7)):
        p = Person(d)
        d.line(("neg:num", str(r.randrange(10000, 99999))), "\t", p.name, "\t", p.mail, "\t", p.phone, "\t", ("DATE_OF_BIRTH", p.birth.isoformat()), "\t", ip(r), "\t", r.choice(["\\N", "paid in May", "VIP"]))
    return d.line("\\.") and "sql"


def my_dump(d, r):
    d.line("-- Server version\t", version(r)).put("INSERT INTO `orders` (`order_no`, `recipient`, `ship_to`, `iban`, `mobile`, `sha1`) VALUES ")
    for i in range(r.randrange(2, 5)):
        p = Person(d)
        d.put(",\n" if i else "", "('", order(r), "','", p.name, "','", p.address, "','", ("IBAN", places.iban(r, False)), "','", p.phone, "','", ("neg:sha", hexes(r, 40)), "')")
    return d.line(";") and "sql"


def table(d, r):
    d.line("## On call, week ", str(r.randrange(1, 53)), "\n").line("| Shift | Name | Mobile | Mail | Since release |").line("|---|---|---|---|---|")
    for shift in ("early", "late", "night"):
        p = Person(d)
        d.line("| ", shift, " | ", p.name, " | ", p.phone, " | ", p.mail, " | ", version(r), " |")
    return "markdown"


def group_chat(d, r):
    a, b = Person(d), Person(d)
    for who, rest in ((a, ["anyone seen the ", r.choice(THINGS), "?"]), (b, ["ask ", a.given, "'s brother, he has it. call ", b.phone]), (a, ["ok! sending it to ", b.mail, " and tracking is ", order(r)]), (b, ["perfect, see you at ", b.address])):
        d.line("[", stamp(r)[2:10].replace("-", "/"), ", ", stamp(r)[11:16], "] ", who.name, ": ", *rest)
    return "chat"


def slack(d, r):
    a = Person(d)
    d.line("{\"type\":\"message\",\"ts\":\"", ("neg:epoch", f"17{places.digits(r, 8)}.{places.digits(r, 6)}"), "\",\"user\":\"U0", places.shape(r, "A#A#A#A#"), "\",\"user_profile\":{\"real_name\":\"", a.name, "\",\"email\":\"", a.mail, "\"},")
    return d.line(" \"text\":\"rotated the key, new one is ", token(r), " (old: xoxb-REDACTED), ping me on ", a.phone, "\",\"client_msg_id\":\"", uuid(r), "\"}") and "chat"


def git_trailers(d, r):
    a, b, c = Person(d), Person(d), Person(d)
    d.line("commit ", commit(r)).line("Merge: ", ("neg:gitshort", hexes(r, 9)), " ", ("neg:gitshort", hexes(r, 9))).line("Author:     ", a.name, " <", a.mail, ">").line("AuthorDate: Thu Oct 8 09:14:02 2026 +0200\n")
    d.line("    ", r.choice(THINGS), ": fix overflow at ", ("neg:hex", "0x" + hexes(r, 8)), " (#", str(r.randrange(100, 9999)), ")\n").line("    Reported-by: ", b.name, " <", b.mail, ">").line("    Reviewed-by: ", c.name, " <", c.mail, ">").line("    Fixes: ", ("neg:gitshort", hexes(r, 12)), " (\"parse the header\")")
    return "git"


def blame(d, r):
    for _ in range(r.randrange(3, 6)):
        a = Person(d)
        d.line(("neg:gitshort", hexes(r, 8)), " (", a.name, "  ", stamp(r), " +0100 ", str(r.randrange(10, 400)), ")     return ", ("neg:num", str(r.randrange(10 ** 6, 10 ** 9))), ";")
    return "git"


def comments(d, r):
    a, b = Person(d), Person(d)
    d.line("/**").line(" * Parses the ", r.choice(THINGS), " feed.").line(" * @author ", a.name, " <", a.mail, ">").line(" * @since ", version(r)).line(" */")
    d.line("// ", b.given, " says the Dijkstra heap is faster, see Knuth 5.2.3; ask ", b.phone, " before changing it").line("static const char *TEST_CARD = \"", ("neg:testcard", "1234567812345678"), "\";").line("int magic = ", ("neg:hex", "0x" + hexes(r, 8)), "; // ", uuid(r))
    return "code"


def vcard(d, r):
    p = Person(d)
    return d.line("BEGIN:VCARD").line("VERSION:4.0").line("FN:", p.name).line("BDAY:", ("DATE_OF_BIRTH", p.birth.strftime("%Y-%m-%d"))).line("EMAIL;TYPE=work:", p.mail).line("TEL;TYPE=cell:", p.phone).line("ADR;TYPE=home:;;", p.address, ";;;;").line("UID:urn:uuid:", uuid(r)).line("REV:20260412T101500Z").line("END:VCARD") and "vcard"


def calendar(d, r):
    a, b = Person(d), Person(d)
    d.line("BEGIN:VEVENT").line("UID:", hexes(r, 32), "@calendar.localhost").line("DTSTART:20261014T090000Z").line("ORGANIZER;CN=\"", a.name, "\":mailto:", a.mail).line("ATTENDEE;ROLE=REQ-PARTICIPANT;CN=", b.name, ":mailto:", b.mail)
    return d.line("DESCRIPTION:Dial in: ", a.phone, " , pin ", ("neg:pin", places.digits(r, 6)), "#").line("SEQUENCE:3").line("END:VEVENT") and "ical"


def soap(d, r):
    p = Person(d)
    d.line("<?xml version=\"1.0\"?>").line("<order id=\"", order(r), "\" xmlns=\"urn:shop:v2\">").line("  <customer>").line("    <firstName>", p.given, "</firstName><lastName>", p.family, "</lastName>").line("    <dateOfBirth>", ("DATE_OF_BIRTH", p.birth.isoformat()), "</dateOfBirth>").line("    <phone>", p.phone, "</phone>")
    return d.line("  </customer>").line("  <payment iban=\"", ("IBAN", places.iban(r, False)), "\" amount=\"", ("neg:float", f"{r.uniform(5, 5000):.2f}"), "\"/>").line("  <created>2026-08-14T08:00:00Z</created>").line("  <schema>", ("neg:ver", "2.11.0.4"), "</schema>").line("</order>") and "xml"


def minutes(d, r):
    a, b, c = Person(d), Person(d), Person(d)
    d.line("Minutes, board of ", ("ignore", r.choice(COMPANIES)), "\n").line("Present: ", a.name, ", ", b.name, ", ", c.name).line("Apologies: ", Person(d).name, "\n").line("1. ", a.given, " reported that the ", r.choice(THINGS), " project is two weeks late.").line("2. Ms ", b.family, " will talk to the supplier; ", c.name, " seconded.")
    return d.line("3. Next meeting on 14 March 2027, room ", ("neg:room", "B-2.114"), ".") and "minutes"


def bank(d, r):
    p, q = Person(d), Person(d)
    d.line(":20:", ("neg:ref", "STARTUMS" + places.digits(r, 6))).line(":25:", ("IBAN", places.iban(r, False))).line(":61:2610141014DR", ("neg:float", f"{r.randrange(10, 9000)},{r.randrange(10, 99)}"), "NTRFNONREF").line(":86:177?00TRANSFER?20rent october?32", p.name)
    return d.line("Card payment ", ("CREDIT_CARD", places.card(r, True)), " by ", q.name, " declined, refund to ", ("IBAN", places.iban(r, True)), ". The other account, ", ("neg:badiban", places.iban(r, True, right=False)), ", does not exist.") and "bank"


def shell(d, r):
    p = Person(d)
    lines = [["export STRIPE_KEY=", token(r)], ["curl -u ", p.user, ":", password(r), " https://api.localhost/v1/orders/", order(r)], ["mysql -h ", ip(r), " -u root --password=", password(r), " shop"], ["git checkout ", ("neg:gitshort", hexes(r, 10))],
             ["psql postgresql://shop:", ("SECRET", letters(r, 16), "URI_PASSWORD"), "@db.internal:5432/shop"], ["curl -H 'X-Api-Key: ", key_value(r), "' http://localhost:8080/health"], ["docker run --rm alpine@sha256:", ("neg:digest", hexes(r, 64))], ["git config user.email ", p.mail],
             ["export TOKEN=$(cat /run/token)"], ["kill -9 ", ("neg:pid", str(r.randrange(1000, 99999)))], ["ssh deploy@", ip(r)]]
    r.shuffle(lines)
    for i, parts in enumerate(lines[:r.randrange(4, 8)]):
        d.line(r.choice(["$ ", f"  {400 + i}  "]), *parts)
    return "shell"


def network(d, r):
    d.line("1: lo: <LOOPBACK,UP> mtu 65536").line("    inet ", ("neg:loop", "127.0.0.1"), "/8 scope host lo").line("2: eth0: <BROADCAST,UP> mtu 1500 qlen 1000").line("    link/ether ", mac(r), " brd ", ("neg:bcast", "ff:ff:ff:ff:ff:ff"))
    d.line("    inet ", ip(r), "/24 scope global").line("? (", ip(r), ") at ", mac(r), " [ether] on eth0").line("default via ", ip(r), " metric 100").line("netmask ", ("neg:mask", "255.255.254.0"))
    return "network"


def ldif(d, r):
    p = Person(d)
    return d.line("dn: uid=", ("neg:uid", f"u{places.digits(r, 5)}"), ",ou=people,dc=corp,dc=localhost").line("objectClass: inetOrgPerson").line("cn: ", p.name).line("givenName: ", p.given).line("sn: ", p.family).line("mail: ", p.mail).line("telephoneNumber: ", p.phone).line("homePostalAddress: ", p.address).line("entryUUID: ", uuid(r)).line("userPassword: ", password(r)) and "ldif"


def events(d, r):
    for _ in range(r.randrange(2, 5)):
        p = Person(d)
        d.line("{\"at\":", ("neg:epochms", f"17{places.digits(r, 11)}"), ",\"kind\":\"signup\",\"profile\":{\"displayName\":\"", p.name, "\",\"contactEmail\":\"", p.mail, "\",\"dob\":\"", ("DATE_OF_BIRTH", p.birth.isoformat()), "\",\"msisdn\":\"", p.phone, "\"},\"clientIp\":\"", ip(r), "\",\"trace\":\"", ("neg:trace", hexes(r, 32)), "\"}")
    return "json"


def traceback(d, r):
    p = Person(d)
    d.line("Traceback (most recent call last):").line("  File \"/srv/app/", r.choice(THINGS), ".py\", line ", str(r.randrange(10, 900)), ", in save").line("    raise ValueError(row)")
    return d.line("ValueError: {'id': ", ("neg:num", str(r.randrange(10 ** 5, 10 ** 8))), ", 'full_name': '", p.name, "', 'email': '", p.mail, "', 'card': '", ("CREDIT_CARD", places.card(r, r.random() < .5)), "', 'etag': '", ("neg:sha", hexes(r, 32)), "', 'api_token': '", key_value(r), "'}") and "trace"


def sheet(d, r):
    l = d.l["label"]
    heads = [("name", lambda p: p.name), ("birth", lambda p: p.born), ("phone", lambda p: p.phone), ("mail", lambda p: p.mail), ("passport", lambda p: p.passport), ("order", lambda p: order(r))]
    r.shuffle(heads)
    d.line(";".join(l[k] for k, _ in heads[:5]))
    for _ in range(r.randrange(3, 7)):
        p = Person(d)
        row = [x for _, f in heads[:5] for x in (";", f(p))][1:]
        d.line(*row)
    return "csv"


def record(d, r):
    p, l = Person(d), d.l["label"]
    d.line("# personnel file").line("employee: ", p.name).line("born: ", p.born).line(l["id"] or "phone", ": ", p.id).line("staff no: ", ("neg:num", places.digits(r, 6, range(1, 9)))).line("bank: ", ("IBAN", places.iban(r, True)))
    return d.line("company card: ", ("CREDIT_CARD", places.card(r, True)), " (a test number, ", ("neg:badcard", "4111 1111 1111 1112"), ", was refused)") and "record"


def claim(d, r):
    p = Person(d)
    d.put("Claim ", order(r), " of ", p.name, ": ")
    return d.line(*(["identity ", p.id, ", "] if d.locale != "ja_JP" else []), "paid by card ", ("CREDIT_CARD", places.card(r, r.random() < .5)), ", passport ", p.passport, " was shown. Call back ", p.phone, " on ", ("neg:date", f"{r.randrange(10, 28)} May 2026"), ".") and "claim"


def travel(d, r):
    p = Person(d)
    return d.line("E-TICKET ", ("neg:ticket", f"220-{places.digits(r, 10, range(1, 9))}"), "  PNR ", ("neg:pnr", places.shape(r, "AA#A#A"))).line("Passenger: ", p.name).line("Passport: ", p.passport, "  born ", p.born).line("LH", str(r.randrange(400, 999)), " 14OCT FRAJFK 1030 1315").line("Paid with ", ("CREDIT_CARD", places.card(r, False)), ", receipt to ", p.mail) and "travel"


def sealed(d, r):
    kind = r.choice(["EC PRIVATE KEY", "PRIVATE KEY", "RSA PRIVATE KEY"])
    body = base64.b64encode(r.randbytes(r.choice([120, 240]))).decode()
    pem = f"-----BEGIN {kind}-----\n" + "\n".join(body[i:i + 64] for i in range(0, len(body), 64)) + f"\n-----END {kind}-----"
    cert = base64.b64encode(r.randbytes(180)).decode()
    d.line("tls.key: |").line(("SECRET", pem, "PRIVATE_KEY")).line("tls.crt: |").line("-----BEGIN CERTIFICATE-----").line(("neg:cert", "\n".join(cert[i:i + 64] for i in range(0, len(cert), 64)))).line("-----END CERTIFICATE-----")
    head, claim = (base64.urlsafe_b64encode(json.dumps(x).encode()).decode().rstrip("=") for x in ({"alg": "RS256", "kid": letters(r, 8)}, {"sub": letters(r, 12), "exp": 1790000000 + r.randrange(10 ** 6)}))
    return d.line("cookie: session=", ("SECRET", f"{head}.{claim}.{letters(r, 86, '-_')}", "JWT"), "; theme=dark") and "secret"


# ---- documents that hold nothing ----

def lockfile(d, r):
    for _ in range(r.randrange(3, 8)):
        d.line("[[package]]").line("name = \"", r.choice(THINGS), "\"").line("version = \"", version(r), "\"").line("checksum = \"", ("neg:sha", hexes(r, 64)), "\"\n")
    return "neg"


def gosum(d, r):
    for _ in range(r.randrange(3, 8)):
        d.line("github.com/", r.choice(THINGS), "/v2 v", version(r), " h1:", ("neg:sri", base64.b64encode(r.randbytes(32)).decode()))
    return "neg"


def hexdump(d, r):
    for i in range(r.randrange(4, 10)):
        d.line(f"{i * 16:08x}  ", ("neg:hexdump", " ".join(hexes(r, 2) for _ in range(16))), "  |................|")
    return "neg"


def dmesg(d, r):
    for _ in range(r.randrange(3, 8)):
        d.line("[", ("neg:float", f"{r.uniform(1, 99999):12.6f}"), "] pci 0000:", ("neg:pci", f"{hexes(r, 2)}:{hexes(r, 2)}.0"), ": BAR 2: assigned [mem ", ("neg:hex", "0x" + hexes(r, 12)), "-", ("neg:hex", "0x" + hexes(r, 12)), " 64bit]")
    return d.line("usb 1-2: New USB device found, idVendor=", hexes(r, 4), ", SerialNumber: ", ("neg:serial", places.shape(r, "A#########AA"))) and "neg"


def metrics(d, r):
    for _ in range(r.randrange(3, 8)):
        d.line("http_requests_total{code=\"200\",le=\"", ("neg:float", f"{r.uniform(0, 10):.3f}"), "\"} ", ("neg:num", f"{r.uniform(1, 9):.9f}e+{r.randrange(5, 12):02}"), " ", ("neg:epochms", f"17{places.digits(r, 11)}"))
    return "neg"


def science(d, r):
    return d.line("The Gauss-Newton step needs ", ("neg:num", f"{r.randrange(10 ** 6, 10 ** 9):,}"), " flops; Student's t is ", ("neg:float", f"{r.uniform(-9, 9):.8f}"), " at p = ", ("neg:float", f"{r.uniform(0, .1):.5f}"), ". Bessel and Hankel functions agree to ", ("neg:num", f"{r.uniform(1, 9):.3f}e-{r.randrange(10, 16)}"), "; the doi is ", ("neg:doi", f"10.{r.randrange(1000, 9999)}/{places.digits(r, 8)}.{r.randrange(100)}"), " and the arXiv number ", ("neg:arxiv", f"26{r.randrange(10, 13)}.{places.digits(r, 5)}"), ".") and "neg"


def stock(d, r):
    d.line("sku,ean,asin,qty,price,batch")
    for _ in range(r.randrange(3, 8)):
        d.line(("neg:sku", places.shape(r, "AA-####-AA")), ",", ("neg:ean", places.digits(r, 13, [4, 5, 7])), ",", ("neg:asin", "B0" + places.shape(r, "#A#A##A#")), ",", str(r.randrange(1, 900)), ",", ("neg:float", f"{r.uniform(1, 900):.2f}"), ",", ("neg:num", places.digits(r, 10, range(1, 9))))
    return "neg"


def reserved(d, r):
    return d.line("In the manual, write to ", ("neg:rfcmail", r.choice(["root@example.com", "jane.roe@example.net", "user@host.invalid"])), " or use ", ("neg:rfcip", f"203.0.113.{r.randrange(1, 255)}"), ", ", ("neg:rfcip6", f"2001:db8:{hexes(r, 3)}::{hexes(r, 2)}"), " and ", ("neg:loop", r.choice(["::1", "127.0.0.53", "0.0.0.0"])), "; set PASSWORD to ", ("neg:keyph", r.choice(["<your-password>", "********", "${DB_PASSWORD}", "changeme", "REPLACE_ME"])), ".") and "neg"


def css(d, r):
    for _ in range(r.randrange(3, 7)):
        d.line(".", r.choice(THINGS), " { color: ", ("neg:color", "#" + hexes(r, 6)), "; margin: ", ("neg:float", f"{r.uniform(0, 9):.3f}rem"), "; background: url(img/icon@2x.png?v=", ("neg:hash", hexes(r, 20)), ") }")
    return "neg"


def releases(d, r):
    d.line("# Release notes ", version(r), " (2026-0", str(r.randrange(1, 9)), "-1", str(r.randrange(9)), ")")
    for _ in range(r.randrange(2, 6)):
        d.line("- ", r.choice(["Will now", "May no longer", "Mark all as read in"]), " the ", r.choice(THINGS), " view, see issue ", ("neg:num", "#" + places.digits(r, 5, range(1, 9))), " and ", ("neg:section", f"§{r.randrange(1, 9)}.{r.randrange(1, 20)}.{r.randrange(1, 9)}.{r.randrange(1, 9)}"))
    return d.line("Supported: Python ", version(r), ", Ruby, Julia, Jasmine 3, Jenkins LTS.") and "neg"


def geo(d, r):
    for _ in range(r.randrange(3, 7)):
        d.line("<trkpt lat=\"", ("neg:latlon", f"{r.uniform(-80, 80):.7f}"), "\" lon=\"", ("neg:latlon", f"{r.uniform(-179, 179):.7f}"), "\"><ele>", ("neg:float", f"{r.uniform(0, 3000):.1f}"), "</ele><time>2026-05-0", str(r.randrange(1, 9)), "T10:00:00Z</time></trkpt>")
    return "neg"


def backlog(d, r):
    for _ in range(r.randrange(3, 7)):
        d.line(r.choice(["SHOP", "OPS", "WEB"]), "-", str(r.randrange(100, 9999)), "\t", ("neg:date", f"2026-{r.randrange(1, 12):02}-{r.randrange(1, 28):02}"), "\t", r.choice(["Grace period ends", "Hope dialog flickers", "Bill of materials missing", "Page Down is ignored", "Paris office printer"]), "\t", ("neg:num", places.digits(r, 9, range(1, 9))), " ms")
    return "neg"


FULL = [thread, local_letter, local_letter, local_form, local_form, hl7, auth_log, web_log, mail_log, yaml_config, toml_config, ini_config, pg_dump, my_dump, table, group_chat, slack, git_trailers, blame, comments, vcard, calendar, soap, minutes, bank,
        shell, network, ldif, events, traceback, sheet, travel, sealed, record, record, claim]
EMPTY = [lockfile, gosum, hexdump, dmesg, metrics, science, stock, reserved, css, releases, geo, backlog]


def documents(seed, n):
    for i in range(n):
        r = random.Random(f"{seed} {i}")
        maker = EMPTY[(i // 10 * 3 + i % 10 - 7) % len(EMPTY)] if i % 10 >= 7 else FULL[(i // 10 * 7 + i % 10) % len(FULL)]
        d = Doc(r, r.choice(sorted(places.LOCALES)))
        kind = maker(d, r)
        yield {"id": f"s{i:05}", "text": d.bytes.decode(), "spans": d.spans, "neg": d.neg, "ignore": d.ignore, "kind": kind, "lang": d.l["lang"], "locale": d.locale, "tpl": maker.__name__}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seed", default="20261126")
    p.add_argument("--documents", type=int, default=1000)
    a = p.parse_args()
    for doc in documents(a.seed, a.documents):
        sys.stdout.write(json.dumps(doc, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
