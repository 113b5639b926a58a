"""Turns the JSON lines of bench.sh into ratios: text on standard output and, with a peer, docs/performance.md's table.

    bench_table.py RESULTS PAGE
"""

import collections
import datetime
import json
import os
import sys

BEGIN, END = "<!-- written by make bench -->\n", "<!-- end -->\n"


def processor():
    with open("/proc/cpuinfo") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return f"{names[0] if names else 'unknown processor'}, {len(os.sched_getaffinity(0))} cores"


def mean(rows, field):
    return sum(row[field] for row in rows) / len(rows)


BEST, DEFAULT = "transformers", "transformers with defaults"


def ratios(by, peer=BEST):
    """The mean, the smallest and the largest round of ours to the peer's tokens per second."""
    all_rounds = [ours["tokens_per_s"] / theirs["tokens_per_s"] for ours, theirs in zip(by["llavatrain"], by[peer])]
    return sum(all_rounds) / len(all_rounds), min(all_rounds), max(all_rounds)


def shares(ours):
    parts = collections.Counter()
    for row in ours:
        parts.update(row["share"])
    return ", ".join(f"{part} {100 * value / len(ours):.0f} %" for part, value in parts.most_common()
                     if value / len(ours) >= 0.01)


def spread(by, peer):
    return "**{:.2f}** ({:.2f} to {:.2f})".format(*ratios(by, peer))


def table(runs):
    lines = ["| shape | stage | ours, tokens/s | peer, tokens/s | ratio (rounds) | peer with defaults, tokens/s "
             "| ratio (rounds) | resident, ours | resident, peer, and with defaults | of matmul's rate "
             "| predicted / measured | time by part |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for (shape, stage), by in runs.items():
        ours, theirs = by["llavatrain"], by["transformers"]
        plain = by[DEFAULT]
        lines.append(f"| {shape} | {stage} | {mean(ours, 'tokens_per_s'):,.0f} | {mean(theirs, 'tokens_per_s'):,.0f} "
                     f"| {spread(by, BEST)} | {mean(plain, 'tokens_per_s'):,.0f} | {spread(by, DEFAULT)} "
                     f"| {mean(ours, 'peak_rss_mb') / 1000:.1f} GB "
                     f"| {mean(theirs, 'peak_rss_mb') / 1000:.1f}, {mean(plain, 'peak_rss_mb') / 1000:.1f} GB "
                     f"| {100 * mean(ours, 'of_matmul'):.0f} % ({ours[0]['flops_count']}) "
                     f"| {ours[0]['memory_predicted_mb']:,} / {ours[0]['memory_measured_mb']:,} MB | {shares(ours)} |")
    return lines


def write(page, runs):
    first = next(iter(runs.values()))
    ours, theirs = first["llavatrain"][0], first["transformers"][0]
    head = (f"{datetime.date.today()}, {processor()}, {ours['threads']} threads, fp32, batch {ours['batch']}, "
            f"{len(first['llavatrain'])} rounds in turn; torch {ours['torch']} and {theirs['torch']}.")
    text = open(page).read()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    with open(page, "w") as f:
        f.write(before + BEGIN + "\n" + "\n".join([head, ""] + table(runs)) + "\n\n" + END + after)


def main():
    runs = collections.defaultdict(lambda: collections.defaultdict(list))
    for line in open(sys.argv[1]):
        row = json.loads(line)
        peer = row["peer"] if row["grouped"] or row["peer"] == "llavatrain" else DEFAULT
        runs[row["shape"], row["stage"]][peer].append(row)
    for (shape, stage), by in runs.items():
        speeds = (f"{peer} {mean(rows, 'tokens_per_s'):,.0f} tokens/s" for peer, rows in by.items())
        text = f"{shape} stage {stage}: " + ", ".join(speeds)
        if "transformers" in by:
            text += f", ratio {spread(by, BEST)}, {spread(by, DEFAULT)}"
        print(text)
    if all("transformers" in by for by in runs.values()):
        write(sys.argv[2], runs)


main()
