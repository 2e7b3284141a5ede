"""The demonstration."""


def run(given):
    return 0
