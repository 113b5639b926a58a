"""Compares the features of a DINOv2 folder with transformers'. Called by TestRealTower as `tower.py FOLDER RECORD`.

RECORD is a safetensors file with k.photo [H,W,3] as decoded, k.pixels [3,S,S] normalised, and k.features [1+P,D], the hidden state -2 with
its class token; transformers' image processor must make the same pixels but for rounding, and its model features within 1e-4.
"""

import sys

import safetensors
import torch
from transformers import Dinov2Model
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

TOLERANCE = 1e-4

folder, record = sys.argv[1:]
model, processor = Dinov2Model.from_pretrained(folder).eval(), BitImageProcessorPil.from_pretrained(folder)
with safetensors.safe_open(record, "pt") as f:
    values = {name: f.get_tensor(name) for name in f.keys()}
problems = []
for k in range(len(values) // 3):
    photo, pixels, features = (values[f"{k}.{name}"] for name in ("photo", "pixels", "features"))
    made = processor(photo.numpy(), input_data_format="channels_last", return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        theirs = model(made, output_hidden_states=True).hidden_states[-2][0]
    seen = (made[0] - pixels).abs().max().item()
    difference = (theirs - features).abs().max().item()
    print(f"photo {k}: pixels differ by {seen:.3g}, features by {difference:.3g}, of features up to {theirs.abs().max():.3g}")
    if not (seen <= TOLERANCE and difference <= TOLERANCE):
        problems.append(f"photo {k}: pixels differ by {seen}, features by {difference}")
sys.exit("\n".join(problems) or 0)
