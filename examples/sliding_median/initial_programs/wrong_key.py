"""Broken: asks the context for a name that it does not have."""


def entrypoint(context):
    width = context["width"]
    return sorted(context["values"])[width:]
