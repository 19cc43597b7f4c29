"""Plain scalars of YAML as PyYAML resolves them, so that a value is what the training read; what is ambiguous is refused."""

from __future__ import annotations

import re

_NULL = ("", "~", "null", "Null", "NULL")
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_ODD = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+|[1-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)")
"""Binary, hexadecimal, octal and sexagesimal numbers."""
MOST_DIGITS = 80


def resolved(text: str) -> str | int | float | bool | None:
    """Return what a plain scalar means. ValueError if readers of YAML do not agree on it.

    As in PyYAML, "1e-3" is text and "1.0e-3" a number; dates stay text.
    """
    if text in _NULL:
        return None
    word = _WORDS.get(text.lower())
    if word is not None and text in (text.lower(), text.upper(), text.capitalize()):
        return word
    if len(text) > MOST_DIGITS:
        return text
    if _INT.fullmatch(text):
        return int(text.replace("_", ""))
    if _ODD.fullmatch(text):
        raise ValueError("a number that is not decimal")
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "v": "\v", "f": "\f", "e": "\x1b", " ": " ",
            '"': '"', "/": "/", "\\": "\\", "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029"}
_HEX = {"x": 2, "u": 4, "U": 8}


def unescaped(text: str, place: int) -> tuple[str, int]:
    """Return what an escape in double quotes means, and where it ends. place: of the character after the backslash."""
    kind = text[place:place + 1]
    if kind in _HEX:
        digits = text[place + 1:place + 1 + _HEX[kind]]
        if len(digits) != _HEX[kind] or not re.fullmatch("[0-9a-fA-F]+", digits):
            raise ValueError("an escape without its digits")
        return chr(int(digits, 16)), place + 1 + _HEX[kind]
    if kind not in _ESCAPES:
        raise ValueError("an unknown escape")
    return _ESCAPES[kind], place + 1
