#!/usr/bin/env python3
"""The judge of the guests' disks finds what it is there for, and nothing else."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import disk  # noqa: E402

RING = 4096


class Image:
    def __init__(self):
        self.f = tempfile.NamedTemporaryFile(suffix=".img")
        self.f.truncate(64 << 20)

    def put(self, sector, text):
        self.f.seek((sector + 2048) * 512)
        self.f.write(text.encode().ljust(512, b"\0"))
        self.f.flush()

    def run(self, inst, seq, count, wall, name="g1", every=500):
        for i in range(count):
            self.put(8 + (seq + i) % RING, "HB %s %d %d %d %s" % (inst * 16, seq + i, wall + i * every, 1000 + i * every, name))

    def wrong(self):
        return disk.judge(*disk.scan([self.f.name]))


def expect(image, words, what):
    got = image.wrong()
    ok = (not got) if words is None else any(words in w for w in got)
    print("%s  %s%s" % ("ok    " if ok else "FAILED", what, "" if ok else ": %s" % got))
    return ok


def main():
    results = []
    im = Image()
    results.append(expect(im, None, "an empty disk"))
    im.run("a", 64, 100, 1000000)
    im.run("b", 64 + 100 + 64, 50, 1000000 + 100 * 500 + 10000)
    results.append(expect(im, None, "one instance after the other"))
    guests, _ = disk.scan([im.f.name])
    results.append(disk.last_beat(guests, "g1")[1] == "b" * 16)
    results.append(disk.longest_gap(guests, "g1", "a" * 16) == 500)

    im.run("a", 164, 40, 1000000 + 100 * 500)
    results.append(expect(im, "began", "the old one wrote on after the new one had begun"))

    im = Image()
    im.run("a", 64, 10, 1000000)
    im.run("b", 74, 10, 1000000 + 5000)
    im.run("a", 84, 10, 1000000 + 5000)
    results.append(expect(im, "take turns", "two instances take turns"))

    im = Image()
    im.run("a", 64, 10, 1000000)
    im.put(5, "DOUBLE-RUN g1: aaaa still runs at 73, bbbb started")
    results.append(expect(im, "DOUBLE-RUN", "an instance says so itself"))

    im = Image()
    im.run("a", RING - 20, 40, 1000000)
    results.append(expect(im, None, "a ring that wraps"))
    failed = results.count(False)
    print("%d passed, %d failed" % (len(results) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
