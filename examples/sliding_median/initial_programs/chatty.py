"""Right and slow: prints every window that it looks at, about 25 MB in each run."""


def entrypoint(context):
    values, window = context["values"], context["window"]
    medians = []
    for start in range(len(values) - window + 1):
        inside = sorted(values[start : start + window])
        print("window", start, inside[: window], flush=False)
        medians.append(inside[window // 2])
    return medians
