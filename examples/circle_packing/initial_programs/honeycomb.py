"""Rows of 6, 5, 6, 5 and 4 circles, each row in the gaps of the row below, grown until they touch."""

import numpy as np
from packing import blow_up


def entrypoint():
    centres = []
    for row, count in enumerate((6, 5, 6, 5, 4)):
        margin = 1 / 12 if count == 6 else 1 / 6
        centres += [(x, 0.09 + 0.205 * row) for x in np.linspace(margin, 1 - margin, count)]
    return blow_up(np.array(centres))
