"""How far a loop has come, where a person waits for it."""

import sys
import time

SECONDS = 5  # between two lines; what is done sooner has none


def progress(items, title, total=None):
    """Go through items; a line on standard error every few seconds tells how many are done.

    items: a list, or any iterable with its length in total. title: what is being done.
    """
    if total is None:
        total = len(items)
    begun = last_line = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - last_line >= SECONDS:
            left = (now - begun) / done * (total - done)
            text = f"{left:.0f} s" if left < 100 else f"{left / 60:.0f} min"
            print(f"{title}: {done} of {total}, {text} left", file=sys.stderr, flush=True)
            last_line = now
        yield item
