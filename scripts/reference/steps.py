"""Computes the losses of a run's first steps with transformers and compares them with those that llavatrain logged.

    REFERENCE_PYTHON=python3 make real-check

calls it as `steps.py FOLDER RECORD`. FOLDER is the model at those steps, exported with --format hf in fp32: while the
warm-up has rate 0, the one that the run began with. RECORD is a safetensors file with, for sample k of step s,
s.k.input_ids [L] (image tokens expanded), s.k.labels [L] and s.k.pixels [3,S,S] if it has an image; its metadata hold
loss.s, the mean over the step's supervised tokens. Losses must agree within 1e-5 of their size.
"""

import sys

import safetensors
import torch
from transformers import LlavaForConditionalGeneration

TOLERANCE = 1e-5

folder, record = sys.argv[1:]
model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
with safetensors.safe_open(record, "pt") as f:
    values = {name: f.get_tensor(name) for name in f.keys()}
    logged = {name.removeprefix("loss."): float(text) for name, text in f.metadata().items() if name.startswith("loss.")}
failed = False
for step, loss in sorted(logged.items()):
    total, tokens = 0.0, 0
    samples = sorted({name.rsplit(".", 1)[0] for name in values if name.startswith(f"{step}.")})
    for sample in samples:
        pixels = values.get(f"{sample}.pixels")
        with torch.no_grad():
            logits = model(input_ids=values[f"{sample}.input_ids"][None],
                           pixel_values=None if pixels is None else pixels[None]).logits[0]
        labels = values[f"{sample}.labels"][1:]
        total += torch.nn.functional.cross_entropy(logits[:-1], labels, ignore_index=-100, reduction="sum").item()
        tokens += (labels != -100).sum().item()
    difference = abs(total / tokens - loss) / loss
    failed |= not difference <= TOLERANCE
    print(f"step {step}: {len(samples)} samples, {tokens} supervised tokens, loss {total / tokens:.6f}, "
          f"llavatrain {loss:.6f}, relative difference {difference:.2g}")
sys.exit("the losses differ" if failed else 0)
