"""Broken: forgets to move the window."""


def entrypoint(context):
    values, window = context["values"], context["window"]
    medians, start = [], 0
    while start + window <= len(values):
        median = sorted(values[start : start + window])[window // 2]
        if median > 1023:
            medians.append(median)
            start += 1
    return medians
