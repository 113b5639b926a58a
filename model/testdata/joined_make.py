"""Makes joined/*: pairs of random towers of a few layers by transformers, with what a LLaVA makes of both.

    pip install torch==2.11.0 transformers==5.17.0 safetensors==0.8.0
    python joined_make.py        # in this folder

Each folder holds two towers as they are published (0 and 1) and golden.safetensors: two pictures at the size of each tower, the patches'
features of each at its selected layer side by side, weights of their sum, and its gradients for every parameter of both. Weights are
exact in bf16 and stored so; everything is computed in fp32 on one thread.
"""

import torch
import transformers
from families_make import SMALL_DINO, randomise, save
from safetensors.torch import save_file

# name: for each tower class, config, side of the images, index of the hidden state, rows before the patches
PAIRS = {
    "siglip_dinov2": (
        ("SiglipVision", dict(hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=18, patch_size=4), 18, -2, 0),
        ("Dinov2", dict(SMALL_DINO, hidden_size=12), 16, -3, 1),  # smaller than configured
    ),
    "clip_registers": (
        ("CLIPVision", dict(hidden_size=8, intermediate_size=20, num_hidden_layers=3, num_attention_heads=2, image_size=15, patch_size=3), 15, -1, 1),
        ("Dinov2WithRegisters", dict(SMALL_DINO, num_register_tokens=3), 20, -2, 4),
    ),
}
NORMS = {
    "SiglipVision": ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
    "CLIPVision": ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]),
    "Dinov2": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "Dinov2WithRegisters": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}


def normalise(levels, mean, std):
    mean, std = (torch.tensor(x, dtype=torch.float32).view(3, 1, 1) for x in (mean, std))
    return ((levels.double() / 255).float() - mean) / std


def pair(name, towers):
    torch.manual_seed(7)
    golden, features, models = {}, [], []
    for i, (prefix, config, side, layer, before) in enumerate(towers):
        model = getattr(transformers, prefix + "Model")(getattr(transformers, prefix + "Config")(**config, attn_implementation="eager")).eval()
        randomise(model)
        save(model, f"joined/{name}/{i}")
        levels = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
        states = model(pixel_values=normalise(levels, *NORMS[prefix]), output_hidden_states=True).hidden_states
        features.append(states[layer][:, before:])
        models.append(model)
        golden[f"levels.{i}"] = levels
    joined = torch.cat(features, -1)  # [2,P,Dv1+Dv2]
    golden["features"], golden["weights"] = joined, torch.randn(joined.shape)
    (joined * golden["weights"]).sum().backward()
    for i, model in enumerate(models):
        golden |= {f"grad.{i}.{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    save_file({key: value.detach().contiguous() for key, value in golden.items()}, f"joined/{name}/golden.safetensors")


for name, towers in PAIRS.items():
    pair(name, towers)
