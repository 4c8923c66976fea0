"""The story of a scenario as it is kept: what was done, and what became of whom and why, without times, numbers and
the order of things that do not depend on each other.  So it changes when behaviour changes, and not otherwise."""

import re

DROP = re.compile(r"^(user:|quiet:|calm)|booted \(| leads in term|: the watchdog is armed|^fault: the network is healed"
                  r"|(picketd|agent|watchdog) (ends|starts)|the lease has ended|Live: registered")
NUMBERS = [(re.compile(p), r) for p, r in (
    (r" \(incarnation \d+, token \d+\)", ""), (r" incarnation \d+ \([^)]*\)", ""), (r" \(incarnation \d+\)", ""),
    (r"fencing \d+ of", "fencing of"), (r"incarnation \d+", "incarnation N"), (r"lease over for [\d.]+s", "lease over"),
    (r"with \d+ locks?", "with locks"), (r"; \d of \d links answer", ""), (r"\b\d+(\.\d+)? ?(ms|s)\b", "T"))]
LINE = re.compile(r"^\s*\d+\.\d+\s+(.*)$")
HOST = re.compile(r"\b(node\d+|witness)\b")


class Tale:
    def __init__(self, text):
        self.named = set(HOST.findall(text))   # hosts that the scenario itself calls by name
        self.roles = {}
        self.lines = []
        self.block = {}

    def role(self, match):
        host = match.group(1)
        return self.roles.get(host, host if host in self.named else "another host")

    def flush(self):
        for who in sorted(self.block):
            self.lines += ["    %s" % line for line in self.block[who]]
        self.block = {}

    def event(self, line):
        if DROP.search(line):
            return
        for pattern, text in NUMBERS:
            line = pattern.sub(text, line)
        line = re.sub(r"^(cluster|fault): ", "", HOST.sub(self.role, line))
        who = re.search(r"\b(vm\w*|twin|thief)\b", line)
        who = "vm " + who.group(1) if who else "a " + line.split(":")[0].split(" ")[0]
        seen = self.block.setdefault(who, [])
        if line not in seen:
            seen.append(line)

    def add(self, text):
        """One line of the story: of the scenario ("> statement", "= result") or of the simulator."""
        found = LINE.match(text)
        if found:
            self.event(found.group(1))
            return
        bound = re.match(r"> (\S+) = (.*): (\S+)$", text)
        if bound:
            if HOST.fullmatch(bound.group(3)):
                self.roles.setdefault(bound.group(3), bound.group(1))
            text = "> %s = %s" % (bound.group(1), bound.group(2))
        if text.startswith((">   after", ">   ")):
            return
        self.flush()
        self.lines.append(text[2:] if text.startswith("> ") else HOST.sub(self.role, text))


def tell(text, story):
    tale = Tale(text)
    begun = False
    for line in story:
        if line.startswith("> begin"):
            tale.lines, tale.block, begun = [], {}, True
        elif begun:
            tale.add(line)
    tale.flush()
    return tale.lines
