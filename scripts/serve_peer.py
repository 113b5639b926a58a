"""Helper of gpu-suite.sh serve: a folder with random weights, what the card can do, and transformers' generate.

serve_peer.py make SHARED SHAPE DEVICE FOLDER         writes a LLaVA folder of one of bench's shapes
serve_peer.py beside SHARED SHAPE DEVICE NAME=FILE... times generate under the loads of results of bench serve, and
                                                      prints both, with their shares of the bounds, as JSON

Weights are bf16 on a GPU and fp32 on a CPU. Needs torch and transformers 5.

A bound of decoding is the bytes that a step reads, which are the weights and the keys and values of all answers, over
the rate of a copy within the device; one of questions about pictures is their arithmetic over the rate of a large
product. Both rates are measured in the same run.
"""
import json
import os
import shutil
import sys
import time

IMAGE, VOCABULARY = 32000, 32064


def build(shared, shape, device):
    """A model with random weights, made on the device."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    sys.path.insert(0, f"{os.path.abspath(shared)}/peer")
    from hf_llava import SHAPES
    v, t = SHAPES[shape]
    vision = CLIPVisionConfig(hidden_size=v[0], num_hidden_layers=v[1], num_attention_heads=v[2],
                              intermediate_size=v[3], image_size=v[4], patch_size=v[5], hidden_act="quick_gelu")
    text = LlamaConfig(hidden_size=t[0], num_hidden_layers=t[1], num_attention_heads=t[2], num_key_value_heads=t[2],
                       intermediate_size=t[3], vocab_size=VOCABULARY, max_position_embeddings=4096)
    torch.manual_seed(1)
    torch.set_default_dtype(torch.float32 if device == "cpu" else torch.bfloat16)
    with torch.device(device):
        model = LlavaForConditionalGeneration(LlavaConfig(
            vision_config=vision, text_config=text, image_token_index=IMAGE, vision_feature_layer=-2,
            vision_feature_select_strategy="default"))
    torch.set_default_dtype(torch.float32)
    return model.eval()


def make(shared, shape, device, folder):
    from transformers import CLIPImageProcessor

    model = build(shared, shape, device)
    model.save_pretrained(folder)
    size = model.config.vision_config.image_size
    CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size}).save_pretrained(folder)
    shutil.copy(f"{shared}/llama-tokenizer/tokenizer.model", folder)
    with open(f"{folder}/tokenizer_config.json", "w") as f:
        json.dump({"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False,
                   "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>",
                   "legacy": False}, f)
    with open(f"{folder}/added_tokens.json", "w") as f:
        json.dump({"<image>": IMAGE}, f)


def seconds(device, work, times):
    """The shortest time of some."""
    import torch

    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def limits(device):
    """Bytes a second that a copy within the device reads and writes, and operations a second of a large product."""
    import torch

    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    n, size = (1 << 28, 2048) if device == "cpu" else (1 << 33, 8192)
    a, b = (torch.zeros(n, dtype=torch.uint8, device=device) for _ in range(2))
    copy = seconds(device, lambda: b.copy_(a), 10)
    x, y = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    product = seconds(device, lambda: x @ y, 20)
    return {"copy_bytes_per_s": 2 * n / copy, "product_operations_per_s": 2 * size ** 3 / product}


def work(config, itemsize):
    """Bytes of the weights that a step reads, bytes of a position's keys and values, and the operations of a question
    about a picture as a function of its positions."""
    v, t = config.vision_config, config.text_config
    width, layers, wide = t.hidden_size, t.num_hidden_layers, v.hidden_size
    decoder = layers * (4 * width ** 2 + 3 * width * t.intermediate_size)
    rows = (v.image_size // v.patch_size) ** 2 + 1
    tower = (v.num_hidden_layers - 1) * rows * (8 * wide ** 2 + 4 * wide * v.intermediate_size + 4 * rows * wide)
    return ((decoder + width * VOCABULARY) * itemsize, 2 * layers * width * itemsize,
            lambda positions: tower + 2 * decoder * positions)


def beside(shared, shape, device, *results):
    import torch

    found = limits(device)
    model = build(shared, shape, device)
    c = model.config.vision_config
    patches = (c.image_size // c.patch_size) ** 2
    dtype = next(model.parameters()).dtype
    weights, position, operations = work(model.config, dtype.itemsize)

    def answer(batch, prompt, tokens, pictures):
        ids = torch.randint(3, IMAGE, (batch, prompt))
        pixels = None
        if pictures:
            ids[:, 1:patches + 1] = IMAGE
            pixels = torch.randn(batch, 3, c.image_size, c.image_size, dtype=dtype, device=device)
        with torch.inference_mode():
            model.generate(input_ids=ids.to(device), attention_mask=torch.ones_like(ids).to(device),
                           pixel_values=pixels, do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens,
                           pad_token_id=0)

    answer(1, patches + 8, 2, True)
    for each in results:
        name, path = each.split("=", 1)
        with open(path) as f:
            ours = json.load(f)
        batch, tokens, pictures = ours["clients"], ours["max_tokens"], ours["pictures"] > 0
        prompt = round(ours["prompt_tokens"] / ours["answered"])
        times = 1 if device == "cpu" else 2
        first = seconds(device, lambda: answer(batch, prompt, 1, pictures), times)
        whole = seconds(device, lambda: answer(batch, prompt, tokens, pictures), times)
        if pictures:
            what, got, other = "pictures_per_s", ours["pictures_per_s"], batch / whole
            bound = found["product_operations_per_s"] / operations(prompt + tokens)
        else:
            what, got = "decode_tokens_per_s", batch * 1000 / ours["per_token_ms"]["p50"]
            other = batch * (tokens - 1) / (whole - first)
            read = weights + batch * position * (prompt + tokens / 2)
            bound = batch * found["copy_bytes_per_s"] / read
        found[name] = {
            "answers_at_a_time": batch, "prompt_tokens": prompt, "answer_tokens": tokens, "of": what,
            "ours": round(got, 1), "peer": round(other, 1), "ratio": round(got / other, 2), "bound": round(bound, 1),
            "share_of_bound": round(got / bound, 3), "ours_first_token_ms": ours["first_token_ms"]["p50"],
            "peer_first_token_ms": round(first * 1000, 1), "ours_between_tokens_ms": ours["between_tokens_ms"],
            "ours_failed": ours["failed"]}
    print(json.dumps(found))


if __name__ == "__main__":
    {"make": make, "beside": beside}[sys.argv[1]](*sys.argv[2:])
