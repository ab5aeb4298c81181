"""Asks the statistics module for the median of every window."""

from statistics import median_low


def entrypoint(context):
    values, window = context["values"], context["window"]
    return [median_low(values[start : start + window]) for start in range(len(values) - window + 1)]
