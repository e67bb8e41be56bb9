"""How pictures name each method, and by which colour and shape a reader knows it."""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.colors import to_hex, to_rgb

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Method:
    """line: what it does, "" if that is not known. marker: matplotlib's."""

    name: str
    line: str
    colour: str
    marker: str

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
        "MeRGAN-JTR",
        "joint training with replay, the old generator's images among the new ones",
        "#00875F",
        "v",
    ),
    "mergan_ra": Method(
        "MeRGAN-RA",
        "replay alignment, the same past as the old generator's from the same noise",
        "#0072B2",
        "*",
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
    here = [path.stem for path in ROOT.glob("[!.]*.py") if "def update(" in path.read_text("utf-8")]
    others = sorted(set(here) - KNOWN.keys())
    others += sorted(set(scripts) - KNOWN.keys() - set(others))
    found = dict(KNOWN)
    for i, script in enumerate(others):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        found[script] = Method(script, "", colour, marker)
    return {script: found[script] for script in scripts}
