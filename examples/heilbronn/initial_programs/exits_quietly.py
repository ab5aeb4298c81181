"""Broken: exits the process with status 17 instead of returning."""

import os


def entrypoint():
    os._exit(17)
