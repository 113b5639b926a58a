"""Makes a folder of adapters with PEFT as the original LLaVA's scripts/v1_5/finetune_lora.sh leaves it, and compares
llavatrain's logits for it, read as it is and merged, with PEFT's.

    pip install -r scripts/reference/requirements.txt
    REFERENCE_PYTHON=python3 make reference

calls it as `original_lora.py make FOLDER BASE PROJECTOR CONFIG`, where PROJECTOR is an mm_projector.bin and CONFIG the
config.json of a LLaVA, and as `original_lora.py compare FOLDER BASE RECORD [RECORD...]`. RECORD is a safetensors file
with ids [T] of one sample and logits [T,V]. Everything is in fp32; logits must agree within 1e-4.
"""

import json
import os
import shutil
import sys

import peft
import torch
import transformers
from safetensors.torch import load_file

for module, pinned in (torch, "2.11.0"), (transformers, "5.17.0"), (peft, "0.21.2"):
    if module.__version__.split("+")[0] != pinned:
        sys.exit(f"{module.__name__} is {module.__version__}; the comparison is pinned to {pinned}")

TOLERANCE = 1e-4


def language_model(base):
    return transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")


def make(folder, base, projector, config):
    """The files that train.py of the original writes: adapters, everything else that was trained, and config.json."""
    torch.manual_seed(0)
    linear = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    settings = peft.LoraConfig(r=4, lora_alpha=8, target_modules=linear, bias="none", task_type="CAUSAL_LM",
                               init_lora_weights=False)
    model = peft.get_peft_model(language_model(base), settings)
    os.makedirs(folder, exist_ok=True)
    torch.save(peft.get_peft_model_state_dict(model), f"{folder}/adapter_model.bin")
    settings.base_model_name_or_path = base
    settings.save_pretrained(folder)
    trained = torch.load(projector, weights_only=True)
    torch.save({"base_model.model." + name: tensor for name, tensor in trained.items()},
               f"{folder}/non_lora_trainables.bin")
    shutil.copy(config, f"{folder}/config.json")


def compare(folder, base, *records):
    settings = json.load(open(f"{folder}/adapter_config.json"))
    model = peft.PeftModel.from_pretrained(language_model(base), folder).eval()
    alone = language_model(base)
    print(f"r {settings['r']}, alpha {settings['lora_alpha']}, {len(settings['target_modules'])} maps a layer")
    for path in records:
        recorded = load_file(path)
        ids = recorded["ids"][None]
        with torch.no_grad():
            logits, unchanged = model(ids).logits[0], alone(ids).logits[0]
        difference = (logits - recorded["logits"]).abs().max().item()
        moved = (logits - unchanged).abs().max().item()
        print(f"largest difference of the logits {difference:.3g}; the adapters move them by up to {moved:.3g}")
        if not difference <= TOLERANCE < moved:
            sys.exit(f"{path}: logits differ by {difference}")


{"make": make, "compare": compare}[sys.argv[1]](*sys.argv[2:])
