"""The scenario language: one statement a line.  docs/scenarios.md describes it for its readers."""

import json
import re
import shlex


class ScenarioError(Exception):
    """The file is wrong: says where and what is allowed."""


class Step:
    def __init__(self, number, text, words):
        self.number = number
        self.text = text
        self.words = words
        self.block = []

    def error(self, why):
        return ScenarioError("line %d: %s\n    %s" % (self.number, why, self.text))


SETUP = {"hosts", "witness", "timing", "fencing", "vm", "cluster", "host", "object", "device-of"}
FAULTS = {"power", "reset", "wedge", "unwedge", "kill", "stop", "start", "stall", "resume", "cut", "heal", "device", "guest",
          "storage", "clock", "suspend", "disk", "job"}
USER = {"apply", "set", "delete", "fence", "confirm", "migrate", "drain", "undrain", "cordon", "uncordon", "request"}
ASSERT = {"expect", "always", "never", "finally"}
OTHER = {"wait", "begin", "denied", "note"}
KNOWN = SETUP | FAULTS | USER | ASSERT | OTHER


def parse(text, name="scenario"):
    """The title (first comment lines) and the steps."""
    title, steps = [], []
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.strip()
        if bare.startswith("|"):
            if not steps:
                raise ScenarioError("%s: line %d: a block line (|) without a statement before it" % (name, number))
            steps[-1].block.append(bare[2:] if bare.startswith("| ") else bare[1:])
            continue
        if bare.startswith("#"):
            if not steps:
                title.append(bare[1:].strip())
            continue
        if not bare:
            continue
        lexer = shlex.shlex(bare, posix=True, punctuation_chars=False)
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError as e:
            raise ScenarioError("%s: line %d: %s\n    %s" % (name, number, e, bare))
        if not words:
            continue
        step = Step(number, bare, words)
        if words[0] not in KNOWN and not (len(words) > 2 and words[1] == "="):
            raise ScenarioError("%s: line %d: no statement begins with \"%s\"; known: %s" %
                                (name, number, words[0], " ".join(sorted(KNOWN))))
        steps.append(step)
    if not any(s.words[0] == "begin" for s in steps):
        raise ScenarioError("%s: there is no `begin`: it starts the hosts after the set-up" % name)
    if not any(s.words[0] in ASSERT for s in steps):
        raise ScenarioError("%s: nothing is expected: this scenario cannot fail" % name)
    return title, steps


UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text):
    m = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)(ms|s|m|h|d)", text)
    if not m:
        raise ValueError("\"%s\" is no time: 500ms, 10s, 5m, 1h" % text)
    return float(m.group(1)) * UNITS[m.group(2)]


def value(text):
    """A JSON value, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def assignments(step, words):
    """a.b.c=1 x=y as nested dictionaries."""
    tree = {}
    for w in words:
        if "=" not in w:
            raise step.error("\"%s\" is not of the form path=value" % w)
        path, text = w.split("=", 1)
        at = tree
        keys = path.split(".")
        for k in keys[:-1]:
            at = at.setdefault(k, {})
        at[keys[-1]] = value(text)
    return tree


ROLES = {"agent": "picket:agents", "operator": "picket:operators", "viewer": "picket:viewers", "picketd": "picket:voters"}


def caller(step, words):
    """`as ROLE NAME` and `id ID` behind a request."""
    by = {}
    while words:
        if words[0] == "as" and len(words) >= 3 and words[1] in ROLES:
            by.update(role=ROLES[words[1]], name=words[2])
            words = words[3:]
        elif words[0] == "id" and len(words) >= 2:
            by["id"] = words[1]
            words = words[2:]
        else:
            raise step.error("behind a request: as agent|operator|viewer|picketd NAME, id ID; not \"%s\"" % " ".join(words))
    return by


def split_within(step, words, default):
    """The words before `within T`, and T in seconds."""
    if len(words) > 2 and words[-2] == "within":
        try:
            return words[:-2], seconds(words[-1])
        except ValueError as e:
            raise step.error(str(e))
    return words, default
