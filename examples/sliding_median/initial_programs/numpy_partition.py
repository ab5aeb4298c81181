"""All windows as one NumPy view, each partitioned around its middle."""

import numpy as np


def entrypoint(context):
    windows = np.lib.stride_tricks.sliding_window_view(np.array(context["values"]), context["window"])
    middle = context["window"] // 2
    return np.partition(windows, middle, axis=1)[:, middle]
