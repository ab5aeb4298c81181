"""One sorted window, updated by bisection."""

from bisect import bisect_left, insort


def entrypoint(context):
    values, window = context["values"], context["window"]
    middle = window // 2
    inside = sorted(values[:window])
    medians = [inside[middle]]
    for leaving, entering in zip(values, values[window:]):
        if leaving != entering:
            del inside[bisect_left(inside, leaving)]
            insort(inside, entering)
        medians.append(inside[middle])
    return medians
