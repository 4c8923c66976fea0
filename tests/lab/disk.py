"""What guests wrote to the SAN, read from outside: from the files that the LUNs are.  The format is in
guest/heartbeat.c.  Nothing of LVM is needed: records are found by what they look like, at sector boundaries."""
import mmap
import os
import re

RECORD = re.compile(rb"HB ([0-9a-f]{16}) (\d+) (\d+) (\d+) ([a-z0-9-]+)\0")
DOUBLE = re.compile(rb"DOUBLE-RUN [^\0]+")
SECTOR = 512
# Two hosts' clocks, as their guests see them.
CLOCK_SLACK_MS = 2500


def segments(f, size):
    """(start, end) of what is not a hole."""
    at = 0
    while at < size:
        try:
            start = os.lseek(f.fileno(), at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(f.fileno(), start, os.SEEK_HOLE)
        yield start, at


def scan(paths):
    """({guest: {instance: [(sequence, wall ms, boot ms)]}}, [what guests said about being doubled])"""
    guests, doubled = {}, []
    for path in paths:
        size = os.path.getsize(path)
        with open(path, "rb") as f, mmap.mmap(f.fileno(), size, access=mmap.ACCESS_READ) as m:
            for start, end in segments(f, size):
                for r in RECORD.finditer(m, start, end):
                    if r.start() % SECTOR == 0:
                        inst, seq, wall, boot, name = r.groups()
                        guests.setdefault(name.decode(), {}).setdefault(inst.decode(), []).append(
                            (int(seq), int(wall), int(boot)))
                for r in DOUBLE.finditer(m, start, end):
                    if r.start() % SECTOR == 0:
                        doubled.append(r.group().decode("ascii", "replace"))
    for insts in guests.values():
        for records in insts.values():
            records.sort()
    return guests, doubled


def judge(guests, doubled, slack_ms=CLOCK_SLACK_MS):
    """What is wrong; an empty list: no guest ran twice at a time."""
    wrong = list(doubled)
    for name, insts in sorted(guests.items()):
        runs = sorted((min(r[1] for r in recs), max(r[1] for r in recs), inst) for inst, recs in insts.items())
        for (_, end, a), (begin, _, b) in zip(runs, runs[1:]):
            if begin + slack_ms < end:
                wrong.append("%s: instance %s began %d ms before %s wrote for the last time" % (name, b, end - begin, a))
        order = sorted((rec[0], inst) for inst, recs in insts.items() for rec in recs)
        seen, last = set(), None
        for seq, inst in order:
            if inst != last and inst in seen:
                wrong.append("%s: instances take turns at sequence %d" % (name, seq))
                break
            seen.add(inst)
            last = inst
    return wrong


def last_beat(guests, name):
    """(wall ms of the newest record, its instance, its sequence), or None."""
    recs = [(r[1], inst, r[0]) for inst, rs in guests.get(name, {}).items() for r in rs]
    return max(recs) if recs else None


def longest_gap(guests, name, inst):
    """ms between two records of one instance that follow each other: what a live migration costs."""
    recs = guests[name][inst]
    return max((b[1] - a[1] for a, b in zip(recs, recs[1:]) if b[0] == a[0] + 1), default=0)
