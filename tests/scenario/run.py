#!/usr/bin/env python3
"""Run scenarios: tests/scenario/run.py [--on sim|dev] [--update] [--seed N] [-v] [FILE.scn ...]

On the simulator the story of each scenario is compared with tests/golden/scenario/NAME.log (--update writes it)."""

import argparse
import concurrent.futures
import difflib
import glob
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dev  # noqa: E402
import engine  # noqa: E402
import lang  # noqa: E402
import sim  # noqa: E402
import tale  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
GOLDEN = os.path.join(ROOT, "tests", "golden", "scenario")
LOOSE = "# story: open"
BACKENDS = {"sim": sim.Sim, "dev": dev.Dev}


def play(path, args, story):
    name = os.path.basename(path)[:-4]
    title, steps = lang.parse(open(path).read(), name)
    for word in ("on: sim", "on: dev"):
        if word in title and args.on != word[4:]:
            return "skipped: %s only" % word[4:]
    backend = BACKENDS[args.on](sim.program(), args.seed, story.append)
    try:
        engine.Engine(backend, title, steps, lambda t: story.append("> " + t)).run()
    except engine.Skip as e:
        return "skipped: %s" % e
    except (engine.Wrong, lang.ScenarioError, ValueError, RuntimeError) as e:
        story.append("FAILED: %s" % e)
        return str(e)
    finally:
        backend.close()
    return None


def golden(name, scenario, story, update):
    """The difference from the story on file, or None."""
    path = os.path.join(GOLDEN, name + ".log")
    text = "\n".join(tale.tell(scenario, story)) + "\n"
    if LOOSE in scenario:  # who is faster is open there: only that it ends well is asked for
        return None
    if update:
        os.makedirs(GOLDEN, exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        return None
    if not os.path.exists(path):
        return "no golden story; look at this one and keep it with --update"
    diff = list(difflib.unified_diff(open(path).read().splitlines(), text.splitlines(), "golden", "now", lineterm="", n=2))
    return "the story changed (--update keeps it):\n" + "\n".join(diff[:60]) if diff else None


def one(path, args):
    name, story, begin = os.path.basename(path)[:-4], [], time.monotonic()
    wrong = play(path, args, story)
    skipped = wrong is not None and wrong.startswith("skipped")
    if wrong is None and args.on == "sim" and args.seed == 1 and not args.free:
        wrong = golden(name, open(path).read(), story, args.update)
    if args.verbose or (wrong and not skipped):
        print("\n".join("    " + s for s in story[-args.tail:]))
    print("%-44s %s (%.1f s)" % (name, "skipped" if skipped else "ok" if wrong is None else "FAILED: " + wrong,
                                 time.monotonic() - begin), flush=True)
    return wrong is None or skipped


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--on", choices=sorted(BACKENDS), default="sim")
    p.add_argument("--update", action="store_true", help="keep the stories of now as golden ones")
    p.add_argument("--free", action="store_true", help="do not compare stories")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--jobs", type=int, default=2)
    p.add_argument("--tail", type=int, default=40)
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("files", nargs="*")
    args = p.parse_args()
    files = args.files or sorted(glob.glob(os.path.join(HERE, "*.scn")))
    with concurrent.futures.ThreadPoolExecutor(args.jobs if args.on == "sim" else 1) as pool:
        failed = [f for f, ok in zip(files, pool.map(lambda f: one(f, args), files)) if not ok]
    print("%d passed, %d failed" % (len(files) - len(failed), len(failed)))
    sys.exit(1 if failed else 0)


main()
