"""JSON schemas and regular expressions by a seed, over everything that the engine says it honours, and a judge of what is made of them."""
import datetime, json, random, re, string

import jsonschema

WORDS = ["name", "age", "city", "tags", "id", "price", "items", "note", "kind", "a b", "größe", "quote\"d", "x"]


class Maker:
    def __init__(self, seed, bounded=True):
        self.r, self.defs, self.bounded = random.Random(seed), {}, bounded

    def pick(self, *of):
        return self.r.choice(of)

    def maybe(self, p=0.5):
        return self.r.random() < p

    def schema(self):
        s = self.value(3)
        if self.maybe(0.4) and s.get("type") != "object":
            s = {"type": "object", "properties": {"result": s}, "required": ["result"]}
        if self.defs:
            s["$defs"] = self.defs
        if self.maybe(0.3):
            s.update(title="T", description="what it is", **{"$schema": "https://json-schema.org/draft/2020-12/schema"})
        return s

    def value(self, depth):
        simple = [self.text, self.integer, self.number, self.boolean, self.null, self.enum, self.const, self.pattern, self.format, self.types]
        nested = [self.array, self.tuple, self.object, self.object, self.object, self.map, self.any_of, self.one_of, self.all_of, self.ref, self.recursive]
        return self.pick(*(simple + nested * 2 if depth > 0 else simple))(depth - 1)

    def text(self, _):
        s = {"type": "string"}
        if self.maybe():
            s["minLength"] = self.r.randint(0, 4)
        if self.maybe() or self.bounded:
            s["maxLength"] = s.get("minLength", 0) + self.r.randint(1, 12)
        return s

    def integer(self, _):
        s = {"type": "integer"}
        low = self.r.randint(-1200, 1200) if self.maybe(0.7) else 0
        span = self.pick(0, 1, 9, 10, 99, 1000, 123456)
        kind = self.r.randint(0, 6)
        if kind in (0, 1, 2):
            s.update(minimum=low, maximum=low + span)
        if kind == 3:
            s.update(exclusiveMinimum=low, exclusiveMaximum=low + span + 2)
        if kind == 4:
            s[self.pick("minimum", "exclusiveMinimum")] = low
        if kind == 5:
            s[self.pick("maximum", "exclusiveMaximum")] = low
        if kind == 6:
            s.update(multipleOf=self.r.randint(1, 30), **({"minimum": -100, "maximum": 400} if self.maybe() else {}))
        return s

    def number(self, _):
        s = {"type": "number"}
        low = round(self.r.uniform(-50, 50), self.r.randint(0, 3))
        high = round(low + self.pick(0.5, 1, 2.25, 100), 3)
        kind = self.r.randint(0, 4)
        if kind in (0, 1):
            s.update(minimum=low, maximum=high)
        if kind == 2:
            s.update(exclusiveMinimum=low, exclusiveMaximum=high)
        if kind == 3:
            s[self.pick("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")] = low
        return s

    def boolean(self, _):
        return {"type": "boolean"}

    def null(self, _):
        return {"type": "null"}

    def enum(self, _):
        return {"enum": self.r.sample(["red", "green", "dark \"blue\"", "größer", 1, 2.5, -3, True, None, [1, "x"], {"k": [False]}], self.r.randint(1, 4))}

    def const(self, _):
        return {"const": self.pick("fixed", 7, None, {"a": 1})}

    def pattern(self, _):
        return {"type": "string", "pattern": self.pick("^[A-Z]{2}-[0-9]{3}$", "^(foo|bar)+$", "^\\d{1,3}(\\.\\d{1,2})?$", "^[^\\s\"]{1,8}$", "^a.{0,5}z$", "^#[0-9a-f]{6}$", "ab+c", "^x"), **({"maxLength": 20} if self.maybe(0.3) else {})} \
            if self.maybe(0.6) else {"type": "string", "pattern": "^" + regex(self.r, 2) + "$"}

    def format(self, _):
        return {"type": "string", "format": self.pick("date", "time", "date-time", "uuid", "ipv4", "ipv6", "email", "hostname", "uri", "duration")}

    def types(self, _):
        return self.pick({"type": ["string", "null"], "maxLength": 5}, {"type": ["integer", "boolean"]}, {"type": ["null", "number"], "minimum": 0, "maximum": 1})

    def array(self, depth):
        s = {"type": "array", "items": self.value(depth)}
        if self.maybe():
            s["minItems"] = self.r.randint(0, 2)
        if self.maybe() or self.bounded:
            s["maxItems"] = s.get("minItems", 0) + self.r.randint(0, 2)
        return s

    def tuple(self, depth):
        n = self.r.randint(1, 3)
        s = {"type": "array", "prefixItems": [self.value(depth) for _ in range(n)]}
        if self.maybe():
            s["items"] = self.pick(False, {"type": "integer"})
        return {**s, "minItems": self.r.randint(0, n), **({"maxItems": n + 1} if self.maybe() or self.bounded else {})}

    def object(self, depth):
        names = self.r.sample(WORDS, self.r.randint(0, 5))
        s = {"type": "object", "properties": {n: self.value(depth) for n in names}, "required": self.r.sample(names, self.r.randint(0, len(names)))}
        extra = self.r.randint(0, 5)
        if extra == 0:
            s["additionalProperties"] = False
        if extra == 1:
            s["additionalProperties"] = {"type": "integer"}
        if extra == 2 and not self.bounded:
            s["additionalProperties"] = True
        return s

    def map(self, depth):
        return {"type": "object", "additionalProperties": self.value(depth - 1), "minProperties": self.r.randint(0, 1), "maxProperties": 2}

    def any_of(self, depth):
        return {"anyOf": [self.value(depth) for _ in range(self.r.randint(1, 3))]}

    def one_of(self, depth):
        """Branches that exclude each other, by type or by a tag."""
        if self.maybe():
            return {"oneOf": [self.text(depth), self.integer(depth), self.boolean(depth)]}
        return {"oneOf": [{"type": "object", "properties": {"kind": {"const": k}, "value": self.value(depth - 1)}, "required": ["kind", "value"], "additionalProperties": False} for k in ("left", "right")]}

    def all_of(self, depth):
        return {"allOf": [{"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}, {"type": "object", "properties": {"id": {"minimum": 3, "maximum": 99}, "note": self.value(depth - 1)}}]}

    def ref(self, depth):
        name = f"part{len(self.defs)}"
        self.defs[name] = {}
        self.defs[name] = self.value(depth - 1)
        return {"$ref": f"#/$defs/{name}"}

    def recursive(self, _):
        self.defs["node"] = {"type": "object", "properties": {"v": {"type": "integer", "minimum": 0, "maximum": 9}, "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}}, "required": ["v", "next"], "additionalProperties": False}
        return {"$ref": "#/$defs/node"}


def regex(r, depth):
    """Of the common part of the dialects, with few and short repetitions."""
    def atom(d):
        kind = r.randint(0, 9)
        if kind == 0 and d > 0:
            return "(" + regex(r, d - 1) + ")"
        if kind == 1 and d > 0:
            return "(?:" + regex(r, d - 1) + "|" + regex(r, d - 1) + ")"
        if kind == 2:
            return r.choice(["[a-c]", "[^a-y]", "[\\w.]", "[A-Z0-9]", "[^\\W\\d]", "[é-ü]", "[\\]\\\\-]"])
        if kind == 3:
            return r.choice(["\\d", "\\w", "\\s", "\\D", "\\W", "\\S", "."])
        if kind == 4:
            return r.choice(["\\.", "\\*", "\\\\", "\\t", "\\x41", "\\u00e9", "\\/", "-", "\""])
        return r.choice(string.ascii_letters + string.digits + " _,:é")
    return "".join(atom(depth) + r.choice(["", "", "", "?", "*", "+", "{2}", "{1,3}", "{0,2}?"]) for _ in range(r.randint(1, 4)))


FORMATS = jsonschema.FormatChecker()


@FORMATS.checks("date-time", ValueError)
def is_date_time(s):
    return not isinstance(s, str) or "T" in s and datetime.datetime.fromisoformat(s).tzinfo is not None


@FORMATS.checks("time", ValueError)
def is_time(s):
    return not isinstance(s, str) or datetime.time.fromisoformat(s).tzinfo is not None


@FORMATS.checks("duration")
def is_duration(s):
    return not isinstance(s, str) or re.fullmatch(r"P(?!$)(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?)", s) is not None


@FORMATS.checks("hostname")
def is_hostname(s):
    return not isinstance(s, str) or len(s) < 254 and all(re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", label) for label in s.split("."))


@FORMATS.checks("uri")
def is_uri(s):
    return not isinstance(s, str) or re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d+)?(/[A-Za-z0-9._~/-]*)?(\?[A-Za-z0-9._~=&-]*)?", s) is not None


def judge(schema, text):
    """What is wrong with the text, or None."""
    try:
        jsonschema.Draft202012Validator(schema, format_checker=FORMATS).validate(json.loads(text))
    except (ValueError, jsonschema.ValidationError) as e:
        return str(e)[:300]
