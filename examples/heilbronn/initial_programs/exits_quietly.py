"""Broken: leaves the process with a status of its own choice instead of an answer."""

import os


def entrypoint():
    os._exit(17)
