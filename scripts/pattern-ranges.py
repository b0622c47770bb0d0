#!/usr/bin/env python3
"""Writes src/core/pattern_ranges.h: the general category of every code point, as runs.
usage: python3 scripts/pattern-ranges.py >src/core/pattern_ranges.h
The version of Unicode is that of this Python's unicodedata."""
import unicodedata

CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn".split()
# Capitals and small letters that take turns, as in Latin Extended: one run. The first has the capitals at even places.
EVEN_UPPER, ODD_UPPER = len(CATEGORIES), len(CATEGORIES) + 1
LAST = 0x10FFFF
WIDTH = 118


def category(point):
    return CATEGORIES.index(unicodedata.category(chr(point)))


def turns(point):
    """The kind of the run of turns that has this code point and the next; or None."""
    pair = [category(point), category(min(point + 1, LAST))]
    if pair not in ([0, 1], [1, 0]):
        return None
    return EVEN_UPPER if (pair == [0, 1]) == (point % 2 == 0) else ODD_UPPER


def run_at(point):
    """(kind, the code point after the run)"""
    kind, after = turns(point), point + 1
    if kind is not None and turns(after) == kind:
        while turns(after) == kind:
            after += 1
        return kind, after + 1
    kind = category(point)  # as far as it goes, or until turns begin
    while after <= LAST and category(after) == kind and (turns(after) is None or turns(after + 1) != turns(after)):
        after += 1
    return kind, after


def runs():
    point = 0
    while point <= LAST:
        kind, after = run_at(point)
        yield point << 8 | kind
        point = after


def lines(words):
    line = "   "
    for word in words:
        if len(line) + len(word) + 2 > WIDTH:
            yield line
            line = "   "
        line += " " + word + ","
    yield line


def main():
    names = ", ".join("VLLM_CATEGORY_" + name.upper() for name in CATEGORIES)
    print("/* The general category of every code point, Unicode %s. Written by scripts/pattern-ranges.py. */"
          % unicodedata.unidata_version)
    print("#ifndef VLLM_PATTERN_RANGES_H\n#define VLLM_PATTERN_RANGES_H\n\n#include <stdint.h>\n")
    print("/* clang-format off */")
    print("enum vllm_category {")
    print("\n".join(lines(["VLLM_CATEGORY_" + name.upper() for name in CATEGORIES])))
    print("    /* Capitals and small letters take turns; the capitals are at even, or odd, code points. */")
    print("    VLLM_CATEGORY_EVEN_UPPER, VLLM_CATEGORY_ODD_UPPER\n};\n")
    print("/* Sorted: the first code point of a run, shifted by 8, and its category. */")
    print("static const uint32_t vllm_pattern_runs[] = {")
    print("\n".join(lines(["0x%X" % run for run in runs()])))
    print("};\n/* clang-format on */\n\n#endif")


main()
