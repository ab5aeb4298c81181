"""Broken: reads a key that the context does not have."""


def entrypoint(context):
    width = context["width"]
    return sorted(context["values"])[width:]
