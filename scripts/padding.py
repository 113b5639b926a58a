"""Share of positions that are wasted on padding when rows are padded to the longest of their micro-batch.

    padding.py LENGTHS   a list of {"image": bool, "turns": [[question tokens, answer tokens], ...]}

Micro-batches of 16: rows at random; grouped as LLaVA's trainer does it for eight devices (llava_trainer.py: images and
text separately, blocks of 128 sorted by length and dealt out so that devices get equally many tokens); and blocks of
128 cut in sorted order. Mean of ten shuffles.
"""

import json
import random
import sys

SIZE, DEVICES, LIMIT = 16, 8, 2048


def length(row, image_tokens):
    return min(LIMIT, 1 + sum(map(sum, row["turns"])) + image_tokens * row["image"])


def deal(block, lengths):
    chunks, loads = [[] for _ in range(DEVICES)], [0] * DEVICES
    for i in block:
        least = loads.index(min(loads))
        chunks[least].append(i)
        loads[least] += lengths[i]
        if len(chunks[least]) == SIZE:
            loads[least] = float("inf")
    return chunks


def batches(rows, way, order):
    if way == "random":
        return [order[k:k + SIZE] for k in range(0, len(order) - SIZE + 1, SIZE)]
    lengths, block, out = [length(row, 0) for row in rows], SIZE * DEVICES, []
    for kind in (True, False):
        part = [i for i in order if rows[i]["image"] == kind]
        for k in range(0, len(part) - block + 1, block):
            ranked = sorted(part[k:k + block], key=lambda i: -lengths[i])
            out += deal(ranked, lengths) if way == "original" else [ranked[j:j + SIZE] for j in range(0, block, SIZE)]
    return out


def wasted(rows, way, image_tokens, shuffles=10):
    total = 0
    for seed in range(shuffles):
        order = list(range(len(rows)))
        random.Random(seed).shuffle(order)
        sizes = [[length(rows[i], image_tokens) for i in batch] for batch in batches(rows, way, order)]
        total += 1 - sum(map(sum, sizes)) / sum(max(s) * len(s) for s in sizes)
    return total / shuffles


with open(sys.argv[1]) as f:
    ROWS = json.load(f)
for image_tokens in (576, 196, 16):
    print(image_tokens, {way: f"{100 * wasted(ROWS, way, image_tokens):.1f} %"
                         for way in ("random", "original", "sorted")})
