#!/usr/bin/env python3
"""Is a history of operations on keys linearizable?  Input: lines as tests/bench/load_history.c writes them.

    tests/torture/check.py FILE...

Each key is checked alone (linearizability is local).  The method is that of Lowe, "Testing for linearizability" (2017): walk
through begins and ends in order of time and keep every state that the key can be in together with the open operations that
have already taken effect; an end keeps only those states in which its operation has.  Operations with an unknown outcome
stay open for ever.  Values are unique, so a lost, doubled or invented write shows as a read that nothing explains."""

import json
import sys

ABSENT = None
STATES_MAX = 100000


class Undecided(Exception):
    pass


class Op:
    __slots__ = ("client", "op", "key", "arg", "begin", "end", "outcome", "result", "group")

    def __init__(self, line):
        self.client, self.op, self.key, self.arg, self.begin, self.end, self.outcome, self.result = line
        self.group = None

    def text(self):
        return "client %s %s %s: [%d, %s] %s -> %s" % (self.client, self.op, self.arg, self.begin,
                                                       "..." if self.outcome == "info" else self.end, self.outcome, self.result)


def step(op, state, known):
    """(possible, next state) when op takes effect on a key in this state."""
    if op.op == "r":
        return (state == op.result, state)
    if op.op == "w":
        return (True, op.arg)
    if op.op == "c":
        hit = state == op.arg[0]
        return (not known or hit == op.result, op.arg[1] if hit else state)
    hit = state is not ABSENT
    return (not known or hit == op.result, ABSENT)


def alike(ops):
    """Operations of unknown outcome that nobody can tell apart share a group: of a group always the first open one is
    taken, so that ten of them give ten states and not a thousand."""
    seen = set()
    for o in ops:
        if o.op == "r" and o.outcome == "ok":
            seen.add(o.result)
        if o.op == "c":
            seen.add(o.arg[0])
    for o in ops:
        if o.outcome != "info":
            continue
        if o.op == "d":
            o.group = "d"
        elif o.op == "w" and o.arg not in seen:
            o.group = "w"


def effects(configs, open_ops):
    """Every configuration that is reached when open operations take effect, in all orders."""
    todo = list(configs)
    while todo:
        state, done = todo.pop()
        groups = set()
        for i, o in open_ops.items():
            if i in done or (o.group is not None and o.group in groups):
                continue
            if o.group is not None:
                groups.add(o.group)
            ok, after = step(o, state, o.outcome == "ok")
            if not ok or (after == state and o.outcome == "info"):
                continue
            c = (after, done | {i})
            if c not in configs:
                if len(configs) >= STATES_MAX:
                    raise Undecided()
                configs.add(c)
                todo.append(c)
    return configs


def check_key(ops):
    """None, or the text of what cannot be explained.  Raises Undecided."""
    ops = sorted((o for o in ops if o.outcome != "fail" and not (o.op == "r" and o.outcome == "info")), key=lambda o: o.begin)
    alike(ops)
    events = []
    for i, o in enumerate(ops):
        events.append((o.begin, 0, i))  # at equal times a begin comes first: they overlap
        if o.outcome == "ok":
            events.append((o.end, 1, i))
    events.sort()
    configs = {(ABSENT, frozenset())}
    open_ops = {}
    for _, kind, i in events:
        if kind == 0:
            open_ops[i] = ops[i]
            continue
        configs = {(s, d - {i}) for s, d in effects(set(configs), open_ops) if i in d}
        if not configs:
            near = [o for o in ops if o.begin <= ops[i].end and (o.outcome == "info" or o.end >= ops[i].begin - 2000000)]
            return ("%s cannot be explained; what else happened to the key before:\n    " % ops[i].text() +
                    "\n    ".join(o.text() for o in near[-25:]))
        del open_ops[i]
        if len(open_ops) > 6:  # a compare that can never hold again is of no more interest
            forget_dead(configs, open_ops)
    return None


def forget_dead(configs, open_ops):
    """Open compares whose value is neither the state nor can become it: values are unique."""
    alive = {s for s, _ in configs}
    for o in open_ops.values():
        alive.add(o.arg if o.op == "w" else o.arg[1] if o.op == "c" else ABSENT)
    for i in [i for i, o in open_ops.items() if o.op == "c" and o.outcome == "info" and o.arg[0] is not ABSENT and
              o.arg[0] not in alive and all(i not in d for _, d in configs)]:
        del open_ops[i]


def check(ops):
    """(violations, undecided keys, operations by outcome)"""
    keys, counts = {}, {}
    for o in ops:
        keys.setdefault(o.key, []).append(o)
        counts[o.outcome] = counts.get(o.outcome, 0) + 1
    bad, undecided = [], []
    for k in sorted(keys):
        try:
            why = check_key(keys[k])
            if why:
                bad.append("key %s: %s" % (k, why))
        except Undecided:
            undecided.append(k)
    return bad, undecided, counts


def read(files):
    ops = []
    for name in files:
        with open(name) as f:
            for line in f:
                if line.endswith("\n"):  # the last one may be cut
                    ops.append(Op(json.loads(line)))
    return ops


def main():
    ops = read(sys.argv[1:])
    bad, undecided, counts = check(ops)
    for b in bad:
        print("VIOLATION " + b)
    print("%d operations %s, %d violations%s" %
          (len(ops), counts, len(bad), ", too many possibilities for: %s" % ", ".join(undecided) if undecided else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
