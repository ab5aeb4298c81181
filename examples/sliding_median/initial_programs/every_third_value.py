"""Cheats: takes the median of every third value of a window, hoping that it is close enough."""


def entrypoint(context):
    values, window = context["values"], context["window"]
    medians = []
    for start in range(len(values) - window + 1):
        sample = sorted(values[start : start + window : 3])
        medians.append(sample[len(sample) // 2])
    return medians
