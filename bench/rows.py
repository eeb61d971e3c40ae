# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows in which each part of `make bench` says what it measured. See README.md."""

import os

FIELDS = ("key", "ours", "peer", "ratio", "unit", "note")


def _append(fields):
    path = os.environ.get("UBD_BENCH_ROWS")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write("\t".join(fields) + "\n")


def _number(value):
    return "" if value is None else f"{value:.6g}"


def write(key, ours, peer=None, ratio=None, unit="", note=""):
    """A figure, and the peer's if there is one. @ratio says how they compare, in the direction that the bar
    is meant; by default it is ours by the peer's."""
    if ratio is None and peer:
        ratio = ours / peer
    _append((key, _number(ours), _number(peer), _number(ratio), unit, note))


def missing(key, reason):
    """A figure that could not be measured, and why."""
    _append((key, "", "", "", "", reason))


def read(path):
    """The rows of a file, by their keys. Of several with one key the last counts."""
    found = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            row = dict(zip(FIELDS, line.rstrip("\n").split("\t"), strict=True))
            for name in ("ours", "peer", "ratio"):
                row[name] = float(row[name]) if row[name] else None
            found[row["key"]] = row
    return found
