"""Names of categories: how they are asked for, matched, sorted and written."""

import csv
import io
import re
import shlex
import sys
import unicodedata

from support.files import control_characters


def parse_categories(text):
    """The names in --categories, separated by commas; a name with a comma stands in double quotes.

    That is a line of a CSV file: a double quote within quotes is written twice.
    """
    if not text:
        return []
    expected = "expected different names, separated by commas, those with a comma in double quotes"
    try:
        (row,) = csv.reader([text], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as error:
        sys.exit(f"error: --categories is {text!r} ({error}), {expected}")
    names = [name.strip() for name in row]
    if any(map(control_characters, names)):
        sys.exit(f"error: --categories is {text!r}, expected names without control characters")
    if "" in names or len({composed(name) for name in names}) < len(names):
        sys.exit(f"error: --categories is {text}, {expected}")
    return names


def write_categories(names, most=30):
    """The option for these names, as a shell takes it; a name may begin with "-"."""
    if len(names) > most:
        return "--categories with their names, separated by commas"
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(names)
    return f"--categories={shlex.quote(row.getvalue())}"


def composed(name):
    """A name in Unicode's composed form (NFC), without spaces around it.

    "é" is one character on one system and two on another, and looks the same.
    """
    return unicodedata.normalize("NFC", name).strip()


def match(asked, available):
    """For each name asked for, the name of those available that it means, or None.

    The same characters come first; then the same characters in composed form.
    """
    by_form = {}
    for name in available:
        by_form.setdefault(composed(name), []).append(name)
    found = []
    for name in asked:
        alike = by_form.get(composed(name), [])
        if name in available:
            found.append(name)
        elif len(alike) == 1:
            found.append(alike[0])
        else:
            found.append(None)
    return found


def natural_order(name):
    """A key for sorting: digits in a row count as a number, so that 2 stands before 10.

    Names that differ elsewhere stay in the order of their characters.
    """
    key = []
    for part in re.findall("[0-9]+|[^0-9]", name):
        if part[0] in "0123456789":
            key.append((ord("0"), int(part)))
        else:
            key.append((ord(part), 0))
    return key, name


def shorten(items, most=3):
    """The first few of some texts, separated by commas, for a line of output."""
    return ", ".join(items[:most]) + (", …" if len(items) > most else "")
