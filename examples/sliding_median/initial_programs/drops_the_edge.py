"""Broken: one window too few."""


def entrypoint(context):
    values, window = context["values"], context["window"]
    return [sorted(values[start : start + window])[window // 2] for start in range(len(values) - window)]
