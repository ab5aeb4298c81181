"""Finds the bits of all medians at once, highest first (a wavelet matrix queried for the same rank everywhere).

At each bit the signal is split, in order, into values with a 0 there and values with a 1. Running counts tell how many
zeros a window holds. If that is more than the rank, the median's bit is 0 and the window continues among the zeros;
otherwise the bit is 1, the zeros are subtracted from the rank, and the window continues among the ones.
"""

import numpy as np

BITS = 10


def entrypoint(context):
    level = np.array(context["values"], dtype=np.int16)
    window = context["window"]
    count = len(level) - window + 1
    first = np.arange(count, dtype=np.int32)
    last = first + np.int32(window)
    rank = np.full(count, window // 2, dtype=np.int32)
    medians = np.zeros(count, dtype=np.int32)
    zeros_before = np.zeros(len(level) + 1, dtype=np.int32)
    for bit in reversed(range(BITS)):
        is_zero = (level >> bit) & 1 == 0
        np.cumsum(is_zero, out=zeros_before[1:])
        zeros_first, zeros_last = zeros_before[first], zeros_before[last]
        zeros_inside = zeros_last - zeros_first
        takes_zero = rank < zeros_inside
        all_zeros = zeros_before[-1]
        medians |= np.where(takes_zero, 0, np.int32(1 << bit))
        rank -= np.where(takes_zero, 0, zeros_inside)
        first = np.where(takes_zero, zeros_first, all_zeros + first - zeros_first)
        last = np.where(takes_zero, zeros_last, all_zeros + last - zeros_last)
        level = np.concatenate([level[is_zero], level[~is_zero]])
    return medians
