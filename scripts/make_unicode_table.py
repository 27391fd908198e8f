#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write src/text/unicode.txt: what the `tokenizers` package takes each code point for.

The package mixes five versions of Unicode (its normal forms are those of Unicode 9, its character classes of 16 and 17,
...). So the table is not taken from one of them: each column is measured, by giving the package every code point. Grapheme
classes come from the `regex` package, for the package offers no way to see them.

    deps/venv/bin/python scripts/make_unicode_table.py > src/text/unicode.txt

Lines: `first last category flags script grapheme` (code points in hexadecimal) for runs that are not all default, then
`lower first last stride delta` and `lower2 code code code` for lower case.
"""
import sys

import regex
from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = "Cc Cf Co Cs Ll Lm Lo Lt Lu Mc Me Mn Nd Nl No Pc Pd Pe Pf Pi Po Ps Sc Sk Sm So Zl Zp Zs".split()
GRAPHEMES = "CR LF Control Extend ZWJ Regional_Indicator Prepend SpacingMark L V T LV LVT".split()
CODES = [code for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
CHUNK = 4096


def members(pattern):
    """The code points that a pattern of the package's regular expressions matches alone."""
    removed = normalizers.Replace(Regex(pattern), "")
    found = set()
    for at in range(0, len(CODES), CHUNK):
        codes = CODES[at : at + CHUNK]
        left = set(removed.normalize_str("".join(map(chr, codes))))
        found.update(code for code in codes if chr(code) not in left)
    return found


def segmenter_members(pattern):
    compiled = regex.compile(pattern, regex.V1)
    return {code for code in CODES if compiled.fullmatch(chr(code))}


def scripts():
    """A number for each script the package tells apart; 0 stands for any."""
    cut = pre_tokenizers.UnicodeScripts().pre_tokenize_str

    def same(a, b):
        return len(cut(chr(a) + chr(b))) == 1

    numbers = {}
    known = []  # (representative, number)
    previous = None
    for code in CODES:
        anything = len(cut("A" + chr(code) + "A")) == 1 and len(cut("\u03b1" + chr(code) + "\u03b1")) == 1
        if anything:
            numbers[code] = 0
            previous = None
            continue
        if previous is not None and same(previous, code):
            numbers[code] = numbers[previous]
        else:
            number = next((n for representative, n in known if same(representative, code)), None)
            if number is None:
                number = len(known) + 1
                known.append((code, number))
            numbers[code] = number
        previous = code
    return numbers


def measure_flags():
    whitespace = pre_tokenizers.Whitespace().pre_tokenize_str
    digits = pre_tokenizers.Digits(individual_digits=True).pre_tokenize_str
    punctuation = pre_tokenizers.Punctuation().pre_tokenize_str
    split = pre_tokenizers.WhitespaceSplit().pre_tokenize_str
    clean = normalizers.BertNormalizer(True, False, False, False).normalize_str
    accents = normalizers.BertNormalizer(False, False, True, False).normalize_str
    marks = normalizers.StripAccents().normalize_str
    nfd = normalizers.NFD().normalize_str
    nfkd = normalizers.NFKD().normalize_str
    flags = {}
    for code in CODES:
        c = chr(code)
        found = ""
        if len(whitespace("a" + c)) == 1 and whitespace("a" + c)[0][0] != "a":
            found += "w"
        if len(digits("a" + c)) == 2:
            found += "n"
        if len(punctuation("a" + c)) == 2:
            found += "p"
        if split("a" + c)[0][0] == "a":
            found += "s"
        if clean("a" + c) == "a":
            found += "c"
        if nfd(c) == c and accents("a" + c) == "a":
            found += "m"
        if marks("a" + c) == "a":
            found += "k"
        if nfkd(c) != c or nfd("\u0345" + c)[0] != "\u0345" or nfd(c + "\u0334")[0] == "\u0334" and c != "\u0334":
            found += "d"
        flags[code] = found
    return flags


def runs(rows):
    """Neighbours that are alike, as (first, last, row)."""
    first = last = row = None
    for code in CODES:
        if row == rows[code] and last == code - 1:
            last = code
            continue
        if row is not None:
            yield first, last, row
        first = last = code
        row = rows[code]
    yield first, last, row


def lower_lines():
    lower = normalizers.Lowercase().normalize_str
    lines, run = [], None
    for code in CODES:
        small = lower(chr(code))
        if small == chr(code):
            continue
        if len(small) > 1:
            lines.append("lower2 %X %s" % (code, " ".join("%X" % ord(c) for c in small)))
            continue
        delta = ord(small) - code
        if run and run[3] == delta and code - run[1] in (1, 2) and run[2] in (0, code - run[1]):
            run[2] = code - run[1]
            run[1] = code
            continue
        if run:
            lines.append("lower %X %X %d %d" % (run[0], run[1], run[2] or 1, run[3]))
        run = [code, code, 0, delta]
    lines.append("lower %X %X %d %d" % (run[0], run[1], run[2] or 1, run[3]))
    return lines


def main():
    category = dict.fromkeys(CODES, "Cn")
    for name in CATEGORIES:
        for code in members(r"\p{%s}" % name):
            category[code] = name
    word, space = members(r"\w"), members(r"\s")
    grapheme = dict.fromkeys(CODES, "-")
    for name in GRAPHEMES:
        for code in segmenter_members(r"\p{Grapheme_Cluster_Break=%s}" % name):
            grapheme[code] = name
    pictures = segmenter_members(r"\p{Extended_Pictographic}")
    conjunct = {c: segmenter_members(r"\p{Indic_Conjunct_Break=%s}" % n) for c, n in (("C", "Consonant"), ("L", "Linker"), ("E", "Extend"))}
    # The segmenter's own tables are older than these: a mark that it does not know yet extends nothing.
    for code in CODES:
        if category[code] == "Cn" and grapheme[code] == "Extend":
            grapheme[code] = "-"
            conjunct["E"].discard(code)
    flags, script = measure_flags(), scripts()
    rows = {}
    for code in CODES:
        found = flags[code] + ("o" if code in word else "")
        if (code in space) != ("s" in found):
            sys.exit("U+%04X: two ideas of white space; the table has room for one" % code)
        found += "x" if code in pictures else ""
        found += "".join(letter for letter, codes in conjunct.items() if code in codes)
        rows[code] = (category[code], found or "-", script[code], grapheme[code])
    print("# Made by scripts/make_unicode_table.py; its comment tells the columns.")
    for first, last, row in runs(rows):
        if row != ("Cn", "-", 0, "-"):
            print("%X %X %s %s %d %s" % (first, last, *row))
    print("\n".join(lower_lines()))


if __name__ == "__main__":
    main()
