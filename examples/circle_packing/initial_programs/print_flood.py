"""Broken: prints every step of about 25 MB of progress, then loses its result to an index error."""


def entrypoint():
    circles = []
    for step in range(250_000):
        print(f"step {step:7d}: still looking for the best place for circle {step % 26:2d}, no better one yet" + "." * 30)
    return circles[0]
