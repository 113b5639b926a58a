"""Makes families/*: random models of two layers by transformers, with what they compute.

    pip install torch==2.11.0 transformers==5.17.0 safetensors==0.8.0
    python families_make.py [NAME...]        # in this folder; without names all of them

Each folder holds a model as it is published (config.json, model.safetensors) and golden.safetensors: for a language model two samples
end to end, hidden states, logits, the summed cross-entropy of the next tokens with its gradients, and 20 tokens of greedy generation;
for a tower two pictures, hidden states, and the gradients of a weighted sum of the second last. Weights are exact in bf16 and stored
so; everything is computed in fp32 on one thread.
"""

import json
import os
import sys

import torch
import transformers
from safetensors.torch import save_file

assert torch.__version__.split("+")[0] == "2.11.0" and transformers.__version__ == "5.17.0"
torch.set_num_threads(1)

SMALL = dict(
    hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=48,
    max_position_embeddings=64, bos_token_id=1, eos_token_id=None, pad_token_id=None,
)
LLAMA3 = dict(
    rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=12
)
LINEAR = dict(rope_type="linear", rope_theta=10000.0, factor=4.0)

# name: class prefix, config beyond SMALL, whether config.json has the rope fields where transformers 4 wrote them.
LANGUAGES = {
    "llama": ("Llama", dict(attention_bias=True, mlp_bias=True), True),
    "llama_linear": ("Llama", dict(rope_parameters=LINEAR), False),
    "llama_llama3": ("Llama", dict(head_dim=8, tie_word_embeddings=True, rope_parameters=LLAMA3), True),
    "mistral": ("Mistral", dict(sliding_window=6), True),
    "qwen2": ("Qwen2", dict(tie_word_embeddings=True, use_sliding_window=True, sliding_window=6, max_window_layers=1), False),
    "qwen3": ("Qwen3", dict(head_dim=8, rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), True),
    "phi3": ("Phi3", dict(original_max_position_embeddings=64, sliding_window=9), True),
}
SMALL_DINO = dict(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, mlp_ratio=2, image_size=20, patch_size=4)
# name: class prefix, config, side of the images.
TOWERS = {
    "siglip": (
        "Siglip",
        dict(hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=18, patch_size=4),
        18,  # is no multiple
    ),
    "dinov2": ("Dinov2", dict(qkv_bias=False, use_mask_token=False), 20),
    "dinov2_swiglu": ("Dinov2", dict(use_swiglu_ffn=True), 28),  # larger than configured
    "dinov2_smaller": ("Dinov2", dict(mlp_ratio=3, layerscale_value=0.1), 12),
    "dinov2_with_registers": ("Dinov2WithRegisters", dict(num_register_tokens=3), 20),
    "dinov2_with_registers_smaller": ("Dinov2WithRegisters", dict(num_register_tokens=2), 12),
    "dinov2_with_registers_larger": ("Dinov2WithRegisters", dict(num_register_tokens=2, use_swiglu_ffn=True), 28),
}


def randomise(model):
    """Weights large enough that every part shows in the output."""
    for name, p in model.named_parameters():
        value = 0.3 * torch.randn(p.shape)
        if "norm" in name and name.endswith("weight"):
            value += 1
        p.data = value.bfloat16().float()


def save(model, folder):
    os.makedirs(folder, exist_ok=True)
    # not model.bfloat16(), which would round the rotary frequencies too; named_parameters leaves a tied head out, as published files do
    model.save_pretrained(folder, state_dict={name: p.detach().bfloat16() for name, p in model.named_parameters()})
    if os.path.exists(extra := f"{folder}/generation_config.json"):
        os.remove(extra)


def as_published(folder):
    """config.json as transformers 4 wrote it, which most folders have."""
    with open(f"{folder}/config.json") as file:
        config = json.load(file)
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    rope.pop("partial_rotary_factor", None)
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.37.2"
    with open(f"{folder}/config.json", "w") as file:
        json.dump(config, file, indent=2)
        file.write("\n")


def language(name):
    prefix, extra, published = LANGUAGES[name]
    torch.manual_seed(7)
    config = getattr(transformers, prefix + "Config")(**{**SMALL, **extra}, attn_implementation="eager")
    model = getattr(transformers, prefix + "ForCausalLM")(config).eval()
    randomise(model)
    save(model, f"families/{name}")
    if published:
        as_published(f"families/{name}")

    samples = [torch.randint(0, 48, (1, n)) for n in (21, 5)]
    states, logits, loss = [], [], 0
    for ids in samples:
        out = model(ids, output_hidden_states=True)
        states.append(torch.stack([h[0] for h in out.hidden_states]))
        logits.append(out.logits[0])
        loss = loss + torch.nn.functional.cross_entropy(out.logits[0, :-1], ids[0, 1:], reduction="sum")
    loss.backward()
    prompt = samples[1]
    answer = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    golden = {
        "input_ids": torch.cat(samples, 1)[0],
        "starts": torch.tensor([0, 21, 26]),
        "hidden_states": torch.cat(states, 1),  # [layers+1,T,D], the last after the final norm
        "logits": torch.cat(logits),
        "loss": loss,
        "generated": answer[0, prompt.shape[1] :],
    }
    golden |= {"grad." + name: p.grad for name, p in model.named_parameters()}
    write(name, golden)


def tower(name):
    torch.manual_seed(7)
    prefix, extra, side = TOWERS[name]
    if prefix == "Siglip":
        config = transformers.SiglipConfig(
            vision_config=extra, text_config=dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, vocab_size=8)
        )
        whole = transformers.SiglipModel(config).eval()
    else:
        config = getattr(transformers, prefix + "Config")(**{**SMALL_DINO, **extra}, attn_implementation="eager")
        whole = getattr(transformers, prefix + "Model")(config).eval()
    randomise(whole)
    save(whole, f"families/{name}")  # SigLIP with the text half and the pooling head, as published

    levels = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    pixels = ((levels.double() / 255).float() - 0.5) / 0.5
    vision = whole.vision_model if prefix == "Siglip" else whole
    states = vision(pixel_values=pixels, output_hidden_states=True).hidden_states
    weights = torch.randn(states[-2].shape)
    (states[-2] * weights).sum().backward()
    golden = {"levels": levels, "weights": weights, "hidden_states": torch.stack(states)}
    golden |= {"grad." + name: p.grad for name, p in vision.named_parameters() if p.grad is not None}
    write(name, golden)


def write(name, golden):
    save_file({key: value.detach().contiguous() for key, value in golden.items()}, f"families/{name}/golden.safetensors")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or [*LANGUAGES, *TOWERS]:
        (tower if wanted in TOWERS else language)(wanted)
