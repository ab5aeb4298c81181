"""Broken: pads the answer with NaN to the length of the signal and cuts it in the wrong place."""

import numpy as np


def entrypoint(context):
    window = context["window"]
    windows = np.lib.stride_tricks.sliding_window_view(np.array(context["values"], dtype=float), window)
    medians = np.partition(windows, window // 2, axis=1)[:, window // 2]
    padded = np.concatenate([np.full(window // 2, np.nan), medians, np.full(window // 2, np.nan)])
    return padded[: len(medians)].tolist()
