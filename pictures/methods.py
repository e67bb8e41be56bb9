"""How pictures name each method, and by which colour and shape a reader knows it."""

import ast
from dataclasses import dataclass
from pathlib import Path

from matplotlib.colors import to_hex, to_rgb

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Method:
    """line: what it does. marker: matplotlib's. long: its name where there is room."""

    short: str
    line: str
    colour: str
    marker: str
    long: str = ""

    @property
    def name(self):
        return self.long or self.short

    @property
    def colour_on_dark(self):
        return to_hex([(1 + channel) / 2 for channel in to_rgb(self.colour)])


# In the paper's order. Each colour has a contrast of at least 3:1 to white
KNOWN = {
    "joint": Method("Joint training", "all categories at once, the upper bound", "#5A5A5A", "o"),
    "sft": Method("Fine-tuning", "nothing guards the past", "#D55E00", "s"),
    "ewc": Method("EWC", "a penalty holds the weights that matter", "#946C00", "^"),
    "rewc": Method("Rotated EWC", "the same penalty, in rotated coordinates", "#C2478F", "D"),
    "dgr": Method("Generative replay", "an old generator paints the past", "#6A51C8", "P"),
    "mergan_jtr": Method(
        short="MeRGAN-JTR",
        line="an old generator's images are learned with the new ones",
        colour="#00875F",
        marker="v",
        long="MeRGAN, joint training with replay",
    ),
    "mergan_ra": Method(
        short="MeRGAN-RA",
        line="from the same noise, paint the past as an old generator does",
        colour="#0072B2",
        marker="*",
        long="MeRGAN, replay alignment",
    ),
}
# Those of other scripts; their numbers have no common divisor, so many pairs differ
COLOURS = ["#8C1D18", "#00838F", "#5D7A00", "#1B2A6B", "#7A4A2B", "#E0405E"]
MARKERS = ["X", "p", "h", "<", ">", "d", "8"]


def describe(scripts):
    """{script: Method} of known and unknown scripts.

    Unknown ones that lie in the project's folder count whether they are shown or not, so what else
    is shown changes no colour.
    """
    here = [path.stem for path in ROOT.glob("*.py") if "def update(" in path.read_text("utf-8")]
    others = sorted(set(here) - KNOWN.keys())
    others += sorted(set(scripts) - KNOWN.keys() - set(others))
    found = dict(KNOWN)
    for i, script in enumerate(others):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        found[script] = Method(script, first_line(script), colour, marker)
    return {script: found[script] for script in scripts}


def first_line(script):
    """The first line of a script's docstring, empty where there is none."""
    path = ROOT / f"{script}.py"
    if not script.isidentifier() or not path.exists():
        return ""
    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n")[0]


def order(script):
    """A key that sorts known scripts in the paper's order, and others behind them by name."""
    known = list(KNOWN)
    return (known.index(script) if script in KNOWN else len(known), script)
