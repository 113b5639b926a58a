"""Compares a run folder's event files with its metrics.jsonl and eval.jsonl, as TensorBoard itself reads them.

    board.py RUN...

RUN is the folder of one stage. Each is read by TensorBoard's EventAccumulator, by its fast server and by its server in
Python; all must serve every number of every line, at its step and once, and the recipe as text and in the plugin
hparams. Needs the packages of requirements.txt, of which tensorboard alone is used here.
"""

import json
import math
import pathlib
import struct
import subprocess
import sys
import time
import urllib.parse
import urllib.request

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def numbers(value, name):
    """The numbers of a line by tag, also those that JSON has as strings."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from numbers(below, f"{name}/{key}")
    elif isinstance(value, (int, float)):
        yield name, float(value)
    elif value in ("NaN", "+Inf", "-Inf"):
        yield name, float(value)


def wanted(run):
    series = {}
    for file, tag in (("metrics.jsonl", "train"), ("eval.jsonl", "eval")):
        path = run / file
        for line in path.read_text().splitlines() if path.exists() else []:
            record = json.loads(line)
            step, of = record.pop("step"), tag
            if "benchmark" in record:
                of, record = f"benchmark/{record['benchmark']}", record["metrics"]
            for name, value in numbers(record, of):
                series.setdefault(name, []).append((step, value))
    return series


def single(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def same(a, b):
    return math.isnan(a) and math.isnan(b) or a == b


def compare(reader, want, got):
    assert sorted(want) == sorted(got), (reader, set(want) ^ set(got))
    points = 0
    for tag, series in want.items():
        assert [step for step, _ in series] == [step for step, _ in got[tag]], (reader, tag, series, got[tag])
        for (step, value), (_, seen) in zip(series, got[tag]):
            assert same(single(value), single(seen)), (reader, tag, step, value, seen)
            points += 1
    print(f"  {reader}: {len(want)} scalars, {points} points")


def accumulated(folder):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    scalars = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    return scalars, events


def served(folder, *flags):
    """What a server answers: scalars, the recipe's text, and the names and values of settings."""
    port = 16000 + int(time.time() * 1000) % 20000
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", str(port), "--host", "127.0.0.1",
         "--samples_per_plugin", "scalars=1000000", *flags], stderr=subprocess.DEVNULL)

    def get(path, body=None, **query):
        url = f"http://127.0.0.1:{port}/data/plugin/{path}?{urllib.parse.urlencode(query)}"
        data = json.dumps(body).encode() if body else None
        headers = {"Content-Type": "application/json"} if body else {}
        return json.loads(urllib.request.urlopen(urllib.request.Request(url, data, headers)).read(),
                          parse_constant=float)

    try:
        for _ in range(600):
            try:
                tags = get("scalars/tags")
                if tags and get("text/tags") and settled(get, tags):
                    break
            except OSError:
                pass
            time.sleep(0.2)
        (run, scalars), = tags.items()
        series = {tag: [(step, float(value)) for _, step, value in get("scalars/scalars", run=run, tag=tag)]
                  for tag in scalars}
        text = get("text/text", run=run, tag="recipe")[-1]["text"]
        groups = get("hparams/session_groups", {"experimentName": "", "startIndex": 0, "sliceSize": 10,
                                                "allowedStatuses": ["STATUS_SUCCESS", "STATUS_UNKNOWN",
                                                                    "STATUS_RUNNING", "STATUS_FAILURE"]})
        return series, text, groups["sessionGroups"]
    finally:
        server.terminate()
        server.wait()


def settled(get, tags, seen={}):
    """Whether a server has stopped reading: it serves what it has read so far."""
    (run, scalars), = tags.items()
    last = (len(scalars), len(get("scalars/scalars", run=run, tag="train/loss")))
    before, seen["last"] = seen.get("last"), last
    return before == last


for run in map(pathlib.Path, sys.argv[1:]):
    print(run)
    want, folder = wanted(run), run / "tensorboard"
    recipe = (run / "recipe.yaml").read_text()
    scalars, events = accumulated(folder)
    compare("EventAccumulator", want, scalars)
    text = events.Tensors("recipe")[-1].tensor_proto.string_val[0].decode()
    assert text == "".join("    " + line for line in recipe.splitlines(True)).rstrip("\n"), text
    for reader, flags in (("fast server", ["--load_fast=true"]), ("Python server", ["--load_fast=false"])):
        scalars, html, groups = served(folder, *flags)
        compare(reader, want, scalars)
        name = next(line for line in recipe.splitlines() if line.startswith("name:"))
        assert "<code>" in html and name in html, html
        group, = groups
        seed = next(line for line in recipe.splitlines() if line.startswith("seed:"))
        assert float(group["hparams"]["seed"]) == float(seed.split(":")[1]), group["hparams"]
        print(f"    recipe as text; {len(group['hparams'])} settings, {group['sessions'][0]['status']}")
