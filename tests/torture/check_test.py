#!/usr/bin/env python3
"""The checker itself: good histories pass, every kind of bad one is found."""

import itertools
import os
import random
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check  # noqa: E402

N = itertools.count()


def op(kind, arg, begin, end, outcome="ok", result=None, key="k"):
    return check.Op([next(N), kind, key, arg, begin, end, outcome, result])


def verdict(*ops):
    return bool(check.check(list(ops))[0])


class Good(unittest.TestCase):
    def good(self, *ops):
        bad, undecided, _ = check.check(list(ops))
        self.assertEqual((bad, undecided), ([], []))

    def test_in_order(self):
        self.good(op("r", None, 0, 1), op("w", "a", 2, 3), op("r", None, 4, 5, result="a"), op("d", None, 6, 7, result=True),
                  op("r", None, 8, 9), op("d", None, 10, 11, result=False))

    def test_overlapping_writes_in_either_order(self):
        for last in "ab":
            self.good(op("w", "a", 0, 10), op("w", "b", 1, 9), op("r", None, 11, 12, result=last))

    def test_read_during_a_write_sees_old_or_new(self):
        for seen in (None, "a"):
            self.good(op("w", "a", 0, 10), op("r", None, 3, 4, result=seen))

    def test_compare_and_set(self):
        self.good(op("c", [None, "a"], 0, 1, result=True), op("c", [None, "b"], 2, 3, result=False),
                  op("c", ["a", "c"], 4, 5, result=True), op("r", None, 6, 7, result="c"))

    def test_unknown_takes_effect_late_or_never(self):
        self.good(op("w", "a", 0, 1), op("w", "b", 2, 3, "info"), op("r", None, 4, 5, result="a"), op("r", None, 6, 7, result="b"))
        self.good(op("w", "a", 0, 1), op("w", "b", 2, 3, "info"), op("r", None, 4, 5, result="a"), op("r", None, 6, 7, result="a"))

    def test_unseen_unknown_write_explains_a_failed_compare(self):
        self.good(op("w", "a", 0, 1), op("w", "b", 2, 3, "info"), op("c", ["a", "c"], 4, 5, result=False))

    def test_failed_did_not_happen(self):
        self.good(op("w", "a", 0, 1), op("w", "b", 2, 3, "fail"), op("r", None, 4, 5, result="a"))

    def test_many_unknown_writes_are_decided(self):
        ops = [op("w", "u%d" % i, i, i + 1, "info") for i in range(40)]
        self.good(op("w", "a", 0, 1), *ops, op("r", None, 100, 101, result="a"), op("d", None, 102, 103, result=True))


class Bad(unittest.TestCase):
    def bad(self, *ops):
        self.assertEqual(len(check.check(list(ops))[0]), 1)

    def test_lost_write(self):
        self.bad(op("w", "a", 0, 1), op("w", "b", 2, 3), op("r", None, 4, 5, result="a"))

    def test_lost_first_write(self):
        self.bad(op("w", "a", 0, 1), op("r", None, 2, 3, result=None))

    def test_stale_read(self):
        self.bad(op("w", "a", 0, 1), op("w", "b", 2, 3), op("r", None, 4, 5, result="b"), op("r", None, 6, 7, result="a"))

    def test_doubled_write(self):
        self.bad(op("w", "a", 0, 1), op("w", "b", 2, 3), op("r", None, 4, 5, result="b"), op("r", None, 6, 9, result="a"))

    def test_doubled_unknown_write(self):
        self.bad(op("w", "a", 0, 1, "info"), op("r", None, 2, 3, result="a"), op("w", "b", 4, 5), op("r", None, 6, 7, result="b"),
                 op("r", None, 8, 9, result="a"))

    def test_write_that_failed_is_seen(self):
        self.bad(op("w", "a", 0, 1, "fail"), op("r", None, 2, 3, result="a"))

    def test_value_from_nowhere(self):
        self.bad(op("w", "a", 0, 1), op("r", None, 2, 3, result="x"))

    def test_seen_before_it_was_written(self):
        self.bad(op("r", None, 0, 1, result="a"), op("w", "a", 2, 3))

    def test_two_winners_of_one_compare(self):
        self.bad(op("w", "a", 0, 1), op("c", ["a", "b"], 2, 5, result=True), op("c", ["a", "c"], 2, 5, result=True))

    def test_compare_succeeds_on_an_old_value(self):
        self.bad(op("w", "a", 0, 1), op("w", "b", 2, 3), op("c", ["a", "c"], 4, 5, result=True))

    def test_compare_fails_without_reason(self):
        self.bad(op("w", "a", 0, 1), op("c", ["a", "b"], 2, 3, result=False))

    def test_deleted_twice(self):
        self.bad(op("w", "a", 0, 1), op("d", None, 2, 3, result=True), op("d", None, 4, 5, result=True))

    def test_back_from_the_dead(self):
        self.bad(op("w", "a", 0, 1), op("d", None, 2, 3, result=True), op("r", None, 4, 5, result="a"))

    def test_two_reads_disagree_on_the_order(self):
        self.bad(op("w", "a", 0, 20), op("w", "b", 0, 20), op("r", None, 1, 2, result="a"), op("r", None, 3, 4, result="b"),
                 op("r", None, 5, 6, result="a"))

    def test_other_keys_do_not_hide_it(self):
        self.bad(op("w", "a", 0, 1, key="x"), op("r", None, 2, 3, result="a", key="x"), op("w", "b", 0, 1, key="y"),
                 op("r", None, 2, 3, result=None, key="y"))


class Random(unittest.TestCase):
    """Histories made by a real register are good; one changed result makes most of them bad."""

    def make(self, rnd):
        ops, state, free, n = [], None, [0] * 4, 0
        for _ in range(60):
            c = rnd.randrange(4)
            begin = free[c] + rnd.randrange(1, 5)
            point = max([begin] + [o[0] for o in ops]) + rnd.randrange(1, 3)
            kind = rnd.choice("wwrrcd")
            n += 1
            arg, result = None, None
            if kind == "w":
                arg = state = "v%d" % n
            elif kind == "r":
                result = state
            elif kind == "c":
                arg = [rnd.choice([state, "v%d" % rnd.randrange(1, n + 1), None]), "v%d" % n]
                result = arg[0] == state
                state = arg[1] if result else state
            else:
                result, state = state is not None, None
            end = point + rnd.randrange(1, 6)
            outcome = "info" if kind != "r" and rnd.randrange(10) == 0 else "ok"
            free[c] = end
            ops.append((point, op(kind, arg, begin, end, outcome, None if outcome == "info" else result)))
        return [o for _, o in ops]

    def test_random(self):
        found = 0
        for seed in range(150):
            rnd = random.Random(seed)
            ops = self.make(rnd)
            self.assertEqual(check.check(ops)[0], [], "seed %d" % seed)
            reads = [o for o in ops if o.op == "r" and o.outcome == "ok"]
            victim = rnd.choice(reads)
            values = [o.arg for o in ops if o.op == "w" and o.outcome == "ok" and o.end < victim.begin and o.arg != victim.result]
            if values:
                victim.result = values[0]
                found += bool(check.check(ops)[0])
        self.assertGreater(found, 60)


if __name__ == "__main__":
    unittest.main(verbosity=0)
