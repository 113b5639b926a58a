"""Loads an adapter that `llavatrain export --format adapter` wrote into PEFT, on the language model that it was trained
with, and compares the logits, with the adapter and merged, with those that llavatrain computed.

    pip install -r scripts/reference/requirements.txt
    REFERENCE_PYTHON=python3 make reference

calls it as `adapter.py BASE ADAPTER RECORD`. RECORD is a safetensors file with ids [T] of one sample and logits [T,V].
Everything is in fp32; logits must agree within 1e-4 before and after PEFT merges the adapter.
"""

import sys

import peft
import torch
import transformers
from safetensors.torch import load_file

for module, pinned in (torch, "2.11.0"), (transformers, "5.17.0"), (peft, "0.21.2"):
    if module.__version__.split("+")[0] != pinned:
        sys.exit(f"{module.__name__} is {module.__version__}; the comparison is pinned to {pinned}")

TOLERANCE = 1e-4

base, adapter, record = sys.argv[1:]
recorded = load_file(record)
model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
alone = model(recorded["ids"][None]).logits[0].detach()
model = peft.PeftModel.from_pretrained(model, adapter).eval()
stored = len(load_file(f"{adapter}/adapter_model.safetensors"))
wanted = sum("lora_" in name for name, _ in model.named_parameters())
if stored != wanted:
    sys.exit(f"the file holds {stored} tensors, PEFT made {wanted} from its configuration")
with torch.no_grad():
    adapted = model(recorded["ids"][None]).logits[0]
    merged = model.merge_and_unload()(recorded["ids"][None]).logits[0]
for name, logits in ("with the adapter", adapted), ("merged", merged):
    difference = (logits - recorded["logits"]).abs().max().item()
    largest = recorded["logits"].abs().max()
    print(f"{name}: largest difference of the logits {difference:.3g}, of logits up to {largest:.3g}")
    if not difference <= TOLERANCE:
        sys.exit(f"{name}: logits differ by {difference}")
if not (alone - adapted).abs().max() > 100 * TOLERANCE:
    sys.exit("the adapter changes nothing: this compares the base with itself")
