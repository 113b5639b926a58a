"""Makes lora/*: adapters by PEFT beside the recorded models of families/, with what they compute.

    pip install torch==2.11.0 transformers==5.17.0 peft==0.21.2 safetensors==0.8.0
    python lora_make.py        # in this folder

Each folder holds an adapter as PEFT saves it (adapter_config.json, adapter_model.safetensors, with B that is not zero) and
golden.safetensors: logits of the two samples of its family's golden, the summed cross-entropy of the next tokens, and the gradients of A
and B. Everything is computed in fp32 on one thread.
"""

import os

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

assert torch.__version__.split("+")[0] == "2.11.0" and transformers.__version__ == "5.17.0" and peft.__version__ == "0.21.2"
torch.set_num_threads(1)

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# name: family, r, alpha, targets (a list of name endings, or a regular expression)
ADAPTERS = {
    "r1_all": ("llama", 1, 1, ALL),
    "r4_qv": ("llama", 4, 8, ["q_proj", "v_proj"]),
    "r4_all": ("llama", 4, 3, ALL),
    "r8_down": ("llama", 8, 16, r"model\.layers\.1\.mlp\.down_proj"),
    "r8_all": ("llama", 8, 16, ALL),
    "r4_joined": ("phi3", 4, 8, ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]),
}


def make(name):
    family, r, alpha, targets = ADAPTERS[name]
    torch.manual_seed(11)
    base = transformers.AutoModelForCausalLM.from_pretrained(f"families/{family}", dtype=torch.float32, attn_implementation="eager")
    config = peft.LoraConfig(r=r, lora_alpha=alpha, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, config).eval()
    adapters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    for n, p in adapters.items():
        p.data = 0.3 * torch.randn(p.shape)
    os.makedirs(f"lora/{name}", exist_ok=True)
    model.save_pretrained(f"lora/{name}")
    os.remove(f"lora/{name}/README.md")

    recorded = load_file(f"families/{family}/golden.safetensors")
    ids, starts = recorded["input_ids"], recorded["starts"].tolist()
    logits, loss = [], 0
    for first, end in zip(starts, starts[1:]):
        sample = ids[None, first:end]
        out = model(sample).logits[0]
        logits.append(out)
        loss = loss + torch.nn.functional.cross_entropy(out[:-1], sample[0, 1:], reduction="sum")
    loss.backward()
    golden = {"logits": torch.cat(logits), "loss": loss}
    for n, p in adapters.items():
        golden["grad." + n.removeprefix("base_model.model.").replace(".default", "")] = p.grad
    save_file({key: value.detach().contiguous() for key, value in golden.items()}, f"lora/{name}/golden.safetensors")


if __name__ == "__main__":
    for wanted in ADAPTERS:
        make(wanted)
