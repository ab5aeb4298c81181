"""A histogram of the window and the count below the median, which walks up or down from the last one."""


def entrypoint(context):
    values, window = context["values"], context["window"]
    middle = window // 2
    counts = [0] * 1024
    for value in values[:window]:
        counts[value] += 1
    median, below = 0, 0
    while below + counts[median] <= middle:
        below += counts[median]
        median += 1
    medians = [median]
    for leaving, entering in zip(values, values[window:]):
        counts[leaving] -= 1
        counts[entering] += 1
        below += (entering < median) - (leaving < median)
        while below > middle:
            median -= 1
            below -= counts[median]
        while below + counts[median] <= middle:
            below += counts[median]
            median += 1
        medians.append(median)
    return medians
