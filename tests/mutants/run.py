#!/usr/bin/env python3
"""Break one rule at a time, in a copy of the tree, and see a test fail.

  tests/mutants/run.py [--sample] [--list] [--keep-going] [NAME...]

A mutant is a file tests/mutants/NAME.mut:

  why: one line: what would go wrong
  file: raft/guard.c
  test: unit raft_guard_test        or: sim SEEDS [SEED0], scenario NAME   (the first one that fails kills it)
  sample: yes                       optional: part of `make check`
  ---
  the lines that are there (once)
  +++
  the lines that are there instead

A mutant that no test kills is a missing test.  One whose lines are not found is an error.
"""
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
OUT = os.path.join(ROOT, os.environ.get("O", "build"), "mutants")
TREE = os.path.join(OUT, "tree")
TEST_SECONDS = int(os.environ.get("MUTANT_SECONDS", "300"))
SKIP = (".git", "build", "tests/lab")


class Broken(Exception):
    """The mutant itself is wrong: its pattern, its file, or the tree does not build."""


class Mutant:
    def __init__(self, path):
        self.name = os.path.basename(path)[: -len(".mut")]
        self.why, self.file, self.tests, self.sample = "", "", [], False
        text = open(path, encoding="utf-8").read()
        head, sep, body = text.partition("\n---\n")
        old, sep2, new = body.partition("\n+++\n")
        if not sep or not sep2:
            raise Broken(f"{self.name}: wants a part after --- and one after +++")
        self.old, self.new = old, new.rstrip("\n")
        for line in head.splitlines():
            key, _, value = line.partition(":")
            value = value.strip()
            if key == "why":
                self.why = value
            elif key == "file":
                self.file = value
            elif key == "test":
                self.tests.append(value.split())
            elif key == "sample":
                self.sample = value == "yes"
            else:
                raise Broken(f"{self.name}: unknown line \"{line}\"")
        if not self.why or not self.file or not self.tests:
            raise Broken(f"{self.name}: why, file and test must be there")


def sources():
    """Files of the working tree that are needed to build, relative to ROOT."""
    for folder, subs, files in os.walk(ROOT):
        rel = os.path.relpath(folder, ROOT)
        rel = "" if rel == "." else rel + "/"
        subs[:] = [s for s in subs if not (rel + s).startswith("build") and rel + s not in SKIP]
        for f in files:
            if f.endswith((".c", ".h", ".mk", ".sh", ".py", ".scn")) or f == "Makefile" \
                    or rel.startswith(("tests/fixtures", "tests/golden", "examples", "docs")):
                yield rel + f


def write_if_other(path, data):
    try:
        with open(path, "rb") as f:
            if f.read() == data:
                return
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def make_copy():
    """A copy whose unchanged files keep their times, so that it is built once."""
    wanted = set(sources())
    for rel in wanted:
        with open(os.path.join(ROOT, rel), "rb") as f:
            write_if_other(os.path.join(TREE, rel), f.read())
        shutil.copymode(os.path.join(ROOT, rel), os.path.join(TREE, rel))
    for folder, subs, files in os.walk(TREE):
        rel = os.path.relpath(folder, TREE)
        rel = "" if rel == "." else rel + "/"
        subs[:] = [s for s in subs if not (rel + s).startswith("build")]
        for f in files:
            if rel + f not in wanted:
                os.remove(os.path.join(folder, f))


def make(targets, log):
    cc = "ccache gcc" if shutil.which("ccache") else "gcc"
    cmd = ["make", "-s", "-j2", "CC=" + cc, "O=build"] + targets
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "SAN", "M")}
    return subprocess.run(cmd, cwd=TREE, env=env, stdout=log, stderr=log, timeout=1800).returncode


def target(test):
    return {"sim": "build/storesim", "scenario": "build/scenario/shell"}.get(test[0]) or "build/unit/" + test[1]


def command(test):
    if test[0] == "scenario":
        return ["env", "PICKET_BIN_DIR=build", "PICKET_SIM_SHELL=build/scenario/shell",
                "tests/scenario/run.py", f"tests/scenario/{test[1]}.scn"]
    if test[0] == "sim":
        return ["build/storesim", "--seeds", test[1], "--seed0", test[2] if len(test) > 2 else "1",
                "--dir", "build/sim"]
    return ["build/unit/" + test[1]]


def run_test(test, log):
    """None: passed; else how it failed."""
    try:
        rc = subprocess.run(command(test), cwd=TREE, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                            timeout=TEST_SECONDS).returncode
    except subprocess.TimeoutExpired:
        return "did not end"
    return None if rc == 0 else (f"signal {-rc}" if rc < 0 else f"exit {rc}")


def judge(m, log):
    """(killed, by what)"""
    path = os.path.join(TREE, m.file)
    text = open(path, encoding="utf-8").read() if os.path.exists(path) else ""
    if text.count(m.old) != 1:
        raise Broken(f"{m.name}: its lines are {text.count(m.old)} times in {m.file}, not once")
    try:
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.replace(m.old, m.new))
        for test in m.tests:
            if make([target(test)], log) != 0:
                raise Broken(f"{m.name}: the broken tree does not compile, see {log.name}")
            how = run_test(test, log)
            if how is not None:
                return True, f"{' '.join(test)} ({how})"
    finally:
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
    return False, "nothing"


def load(names, sample):
    all_names = sorted(f[: -len(".mut")] for f in os.listdir(HERE) if f.endswith(".mut"))
    for n in names:
        if n not in all_names:
            sys.exit(f"no mutant {n} in tests/mutants")
    mutants = [Mutant(os.path.join(HERE, n + ".mut")) for n in (names or all_names)]
    return [m for m in mutants if m.sample or not sample]


def sound(mutants, log):
    """The tests pass before anything is broken, else their failing would mean nothing."""
    tests = sorted({tuple(t) for m in mutants for t in m.tests})
    if make(sorted({target(t) for t in tests}), log) != 0:
        raise Broken(f"the tree does not build, see {log.name}")
    for t in tests:
        how = run_test(t, log)
        if how is not None:
            raise Broken(f"{' '.join(t)} fails without any mutant ({how}), see {log.name}")


def main():
    args = [a for a in sys.argv[1:] if not a.startswith("--")]
    mutants = load(args, "--sample" in sys.argv)
    if "--list" in sys.argv:
        for m in mutants:
            print(f"{m.name:<32} {m.why}")
        return 0
    os.makedirs(OUT, exist_ok=True)
    killed, survived, broken = 0, [], []
    with open(os.path.join(OUT, "build.log"), "w", encoding="utf-8") as log:
        make_copy()
        sound(mutants, log)
    for m in mutants:
        began = time.monotonic()
        with open(os.path.join(OUT, m.name + ".log"), "w", encoding="utf-8") as log:
            try:
                dead, how = judge(m, log)
            except Broken as e:
                broken.append(m.name)
                print(f"{m.name:<32} ERROR     {e}", flush=True)
                continue
        killed += dead
        if not dead:
            survived.append(m.name)
        print(f"{m.name:<32} {'killed' if dead else 'SURVIVED':<9} {time.monotonic() - began:5.1f} s  "
              f"{how if dead else m.why}", flush=True)
    print(f"{killed} killed, {len(survived)} survived" + (f", {len(broken)} errors" if broken else ""))
    return 1 if survived or broken else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Broken as e:
        sys.exit(f"mutants: {e}")
