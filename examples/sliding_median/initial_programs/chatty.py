"""Correct and slow: prints every fifth window, about 5 MB in each run."""


def entrypoint(context):
    values, window = context["values"], context["window"]
    medians = []
    for start in range(len(values) - window + 1):
        inside = sorted(values[start : start + window])
        if start % 5 == 0:
            print("window", start, "sorted:", inside)
        medians.append(inside[window // 2])
    return medians
