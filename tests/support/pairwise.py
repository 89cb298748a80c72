"""Pairwise testing: of all combinations of parameters, some in which every pair of values occurs.

Most faults depend on one or two parameters.  For k values each, all combinations of n parameters
are kⁿ, those that cover every pair are about k² log n.
"""

import heapq
import itertools


def covering(rows):
    """Choose rows in which every pair of values that occurs in any row occurs.

    Args:
        rows: Tuples of the same length; a value is compared with those at the same place.

    Returns:
        Positions in ``rows``, rising; the same ones each time.
    """
    pairs = [set(_pairs(row)) for row in rows]
    uncovered = set().union(*pairs)
    # the row with most uncovered pairs next; what a row had earlier is the most that it can have
    heap = [(-len(each), k) for k, each in enumerate(pairs)]
    heapq.heapify(heap)
    chosen = []
    while uncovered:
        _, k = heapq.heappop(heap)
        left = len(pairs[k] & uncovered)
        if heap and left < -heap[0][0]:
            heapq.heappush(heap, (-left, k))
            continue
        chosen.append(k)
        uncovered -= pairs[k]
    return sorted(chosen)


def _pairs(row):
    values = list(enumerate(row))
    return itertools.combinations(values, 2) if len(values) > 1 else values
