"""How far a loop has come, where a person waits for it."""

import sys
import time


def progress(items, title, total=None, seconds=10):
    """Go through items; show how many are done, on standard error.

    items: a list, or any iterable with its length in total. title: what is being done. On a
    terminal with tqdm there is a bar, elsewhere a line every so many seconds, none for what is done
    sooner.
    """
    if total is None:
        total = len(items)
    if sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ImportError:
            pass
        else:
            yield from tqdm(items, title, total, leave=False)
            return
    begun = time.monotonic()
    last_line = begun
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - last_line >= seconds:
            left = (now - begun) / done * (total - done)
            text = f"{left:.0f} s" if left < 100 else f"{left / 60:.0f} min"
            print(f"{title}: {done} of {total}, {text} left", file=sys.stderr, flush=True)
            last_line = now
        yield item
