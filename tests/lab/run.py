#!/usr/bin/env python3
"""Runs lab scenarios: tests/lab/run.py [NAME...]; without a name all of them.  -l lists them.

A scenario is a file in scenarios/: TITLE, SETUP (what lab it needs) and run(w).  Those with the same SETUP share one
lab, which each leaves as it found it; after a failure the next one gets a new lab.  Each run ends with what the guests
wrote to their disks: that nothing ran twice.
"""
import importlib.util
import os
import signal
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import world  # noqa: E402
from rig import LabError  # noqa: E402


def load(name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(HERE, "scenarios", name + ".py"))
    mod = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mod)
    mod.NAME = name
    mod.KEY = repr(sorted(mod.SETUP.items()))
    return mod


def known():
    return sorted(f[:-3] for f in os.listdir(os.path.join(HERE, "scenarios")) if f.endswith(".py"))


def one(w, mod):
    """True: it went well."""
    print("=== %s: %s" % (mod.NAME, mod.TITLE), flush=True)
    start = time.time()
    try:
        w.time.mark("%s begins" % mod.NAME)
        mod.run(w)
        w.check_disks()
    except (world.Failed, LabError) as e:
        print("=== %s FAILED after %.0f s: %s" % (mod.NAME, time.time() - start, e), flush=True)
        print(w.time.table(start), flush=True)
        return False
    print(w.time.table(start))
    print("=== %s ok, %.0f s" % (mod.NAME, time.time() - start), flush=True)
    return True


class Broken(Exception):
    """A scenario failed: the lab is looked at and thrown away."""


def group(mods):
    """Names of those that failed, all in labs of one kind."""
    failed = []
    left = list(mods)
    while left:
        try:
            with world.World(**left[0].SETUP) as w:
                w.ready()
                while left:
                    mod = left.pop(0)
                    if not one(w, mod):
                        failed.append(mod.NAME)
                        raise Broken(mod.NAME)
        except Broken:
            continue
        except (world.Failed, LabError):
            traceback.print_exc()
            if left:
                failed.append(left.pop(0).NAME)
    return failed


def main():
    # Who is told to end (timeout does that) takes the lab down on its way.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("run.py: told to end"))
    args = sys.argv[1:]
    if args == ["-l"]:
        for name in known():
            print("%-18s %s" % (name, load(name).TITLE))
        return 0
    wrong = [a for a in args if a not in known()]
    if wrong:
        print("run.py: no scenario \"%s\"; there are: %s" % (wrong[0], " ".join(known())), file=sys.stderr)
        return 2
    mods = [load(n) for n in (args or known())]
    groups = {}
    for m in mods:
        groups.setdefault(m.KEY, []).append(m)
    failed = [name for g in groups.values() for name in group(g)]
    for name in failed:
        print("failed: %s" % name)
    print("%d passed, %d failed" % (len(mods) - len(failed), len(failed)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
