#!/usr/bin/env python3
"""Tests the judgement of tests/instructions.py: 3 % above the last figure, 10 % above the last release's, are too much."""

import unittest

from instructions import judge

RUSTC = "1.95.0"


def recorded(figure, rustc=RUSTC, **more):
    return {"rustc": rustc, "instructions": figure, "binary": 5_000, **more}


def problems(figure, *entries):
    return judge({"instructions": figure, "binary": 5_000}, list(entries), RUSTC)


class Judgement(unittest.TestCase):
    def assert_one(self, problems, *words):
        self.assertEqual(len(problems), 1, problems)
        for word in ["`instructions`", *words]:
            self.assertIn(word, problems[0])

    def test_up_to_three_percent_above_the_last_figure_is_good(self):
        for figure in [1, 9_000, 10_000, 10_300]:
            self.assertEqual(problems(figure, recorded(20_000), recorded(10_000)), [], figure)
        self.assert_one(problems(10_301, recorded(20_000), recorded(10_000)), "3 %", "above 10000, the last recorded")

    def test_up_to_ten_percent_above_the_last_release_is_good(self):
        # Each within 3 % of the one before.
        steps = [recorded(figure) for figure in [10_300, 10_600, 10_900]]
        entries = [recorded(20_000, release="0.1.0"), recorded(10_000, release="0.2.0"), *steps]
        self.assertEqual(problems(11_000, *entries), [])
        self.assert_one(problems(11_001, *entries), "10 %", "above 10000, the last release")
        self.assertEqual(problems(11_001, *steps), [], "without a release there is nothing to hold it to")

    def test_each_figure_is_judged(self):
        entries = [recorded(10_000)]
        self.assertEqual(len(judge({"instructions": 10_301, "binary": 5_151}, entries, RUSTC)), 2)
        self.assertEqual(judge({"instructions": 10_300, "binary": 5_150}, entries, RUSTC), [])

    def test_other_compilers_figures_do_not_count(self):
        entries = [recorded(10_000), recorded(20_000, rustc="1.96.0")]
        self.assert_one(problems(10_301, *entries), "above 10000")
        self.assertEqual(len(problems(10_000, recorded(10_000, rustc="1.96.0"))), 2)

    def test_what_was_never_recorded_is_a_problem(self):
        self.assert_one(judge({"instructions": 1}, [{"rustc": RUSTC, "binary": 1}], RUSTC), "--record")


if __name__ == "__main__":
    unittest.main(buffer=True)
