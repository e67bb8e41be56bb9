"""The real sides of several data sets, where runs learned different ones."""

import json

from scoring.reference import RealData, open_reference
from scoring.runs import compare_data


class References:
    """The real side of every data set that the runs learned, each opened once."""

    def __init__(self, **options):
        """options: those of open_reference()."""
        self.options = options
        self.real = {}
        self.opened = {}

    def open(self, run, data, other_data=False):
        """The Reference of a run's data, and how the data differ from those learned, or None.

        data: parameters of load_dataset. ValueError if they differ, unless other_data allows it;
        SystemExit if they cannot be used.
        """
        source = json.dumps(data, sort_keys=True)
        if source not in self.real:
            self.real[source] = RealData(**data)
        real = self.real[source]
        # Before a judge is trained: is this what the run learned?
        differing = compare_data(run, real, allowed=other_data)
        if source not in self.opened:
            self.opened[source] = open_reference(data, real, **self.options)
        return self.opened[source], differing
