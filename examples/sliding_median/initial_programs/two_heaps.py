"""A heap of the lower half and one of the upper half; values that left the window are dropped when they surface."""

from heapq import heapify, heappop, heappush


def entrypoint(context):
    values, window = context["values"], context["window"]
    half = window // 2 + 1
    in_order = sorted((value, index) for index, value in enumerate(values[:window]))
    lower = [(-value, -index) for value, index in in_order[:half]]
    upper = in_order[half:]
    heapify(lower)
    medians = [-lower[0][0]]
    for entering in range(window, len(values)):
        gone = entering - window
        item = (values[entering], entering)
        top = (-lower[0][0], -lower[0][1])
        # The lower half holds the median on top: compare with it before anything moves.
        left_lower = (values[gone], gone) <= top
        if item <= top:
            heappush(lower, (-item[0], -item[1]))
            surplus = 0 if left_lower else 1
        else:
            heappush(upper, item)
            surplus = -1 if left_lower else 0
        if surplus == 1:
            value, index = heappop(lower)
            heappush(upper, (-value, -index))
        elif surplus == -1:
            while upper[0][1] <= gone:
                heappop(upper)
            value, index = heappop(upper)
            heappush(lower, (-value, -index))
        while -lower[0][1] <= gone:
            heappop(lower)
        medians.append(-lower[0][0])
    return medians
