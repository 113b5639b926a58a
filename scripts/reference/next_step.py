"""Times a training step of transformers' LlavaNextForConditionalGeneration on the rows and image sizes of `llavatrain bench --tiles`.

    python next_step.py --shape small --stage 2 --batch 4 --steps 4 --rows ../shared/peer/lengths.json

Weights, ids and pixels are random; only the work counts. Tiles of a batch are padded to the most that an image has, as its
processor does, and rows are padded on the right; both are what the peer pays. --grouped orders rows by kind and length, its best
order. Prints one JSON object; tokens are real positions, text and image.
"""

import argparse
import json
import random
import resource
import time

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaNextConfig, LlavaNextForConditionalGeneration
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches, unpad_image

SHAPES = {  # vision: width, layers, heads, mlp, image, patch; language: width, layers, heads, mlp, vocabulary
    "tiny": ((64, 4, 4, 256, 56, 14), (128, 4, 4, 352, 1000)),
    "small": ((384, 12, 6, 1536, 224, 16), (512, 8, 8, 1408, 32000)),
    "7b": ((1024, 24, 16, 4096, 336, 14), (4096, 32, 32, 11008, 32000)),
}
SIZES = [(640, 480), (480, 640), (500, 375), (640, 427), (1024, 768), (375, 500), (1000, 300), (300, 200)]  # width, height


def build(shape, dtype, device):
    v, t = SHAPES[shape]
    edge = v[4]
    pinpoints = [[edge * h, edge * w] for w, h in [(1, 2), (2, 1), (2, 2), (3, 1), (1, 3)]]  # height, width
    vision = CLIPVisionConfig(hidden_size=v[0], num_hidden_layers=v[1], num_attention_heads=v[2], intermediate_size=v[3],
                              image_size=edge, patch_size=v[5], hidden_act="quick_gelu")
    text = LlamaConfig(hidden_size=t[0], num_hidden_layers=t[1], num_attention_heads=t[2], num_key_value_heads=t[2],
                       intermediate_size=t[3], vocab_size=t[4], max_position_embeddings=4096)
    config = LlavaNextConfig(vision_config=vision, text_config=text, image_token_index=t[4] - 1, vision_feature_layer=-2,
                             vision_feature_select_strategy="default", image_grid_pinpoints=pinpoints)
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = LlavaNextForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    return model.train(), pinpoints, edge, edge // v[5], t[4]


def positions(size, pinpoints, edge, side):
    """How many positions an image takes, and its number of tiles."""
    from transformers.image_processing_utils import select_best_resolution
    width, height = size
    best = select_best_resolution((height, width), pinpoints)
    rows, columns = best[0] // edge, best[1] // edge
    kept = unpad_image(torch.zeros(1, rows * side, columns * side), (height, width))
    return side * side + kept.shape[1] * (kept.shape[2] + 1), 1 + rows * columns


def batches(rows, size, stage, pinpoints, edge, side, vocab, device, dtype):
    generator = torch.Generator().manual_seed(1)
    at = 0
    while True:
        chunk = [rows[(at + i) % len(rows)] for i in range(size)]
        at += size
        ids, labels, sizes, tiles = [], [], [], []
        for r in chunk:
            x, y = [1], [-100]
            if r["image"]:
                n, count = positions(r["size"], pinpoints, edge, side)
                x, y = x + [vocab - 1] * n, y + [-100] * n
                sizes.append((r["size"][1], r["size"][0]))
                tiles.append(count)
            for q, a in r["turns"][:1] if stage == 1 else r["turns"]:
                if stage == 1:
                    q, a = 0, max(8, min(a, 24))
                x += torch.randint(3, vocab - 1, (q + a,), generator=generator).tolist()
                y += [-100] * q + x[len(x) - a:]
            ids.append(x[:4096])
            labels.append(y[:4096])
        width, real = max(map(len, ids)), sum(map(len, ids))
        batch = dict(
            input_ids=torch.tensor([x + [0] * (width - len(x)) for x in ids], device=device),
            labels=torch.tensor([y + [-100] * (width - len(y)) for y in labels], device=device),
            attention_mask=torch.tensor([[1] * len(x) + [0] * (width - len(x)) for x in ids], device=device))
        if sizes:
            batch["pixel_values"] = torch.randn(len(sizes), max(tiles), 3, edge, edge, generator=generator).to(device, dtype)
            batch["image_sizes"] = torch.tensor(sizes, device=device)
        yield batch, real, size * width


def grouped(rows, size, stage, length):
    rng, window, out = random.Random(1), 16 * size, []
    for kind in (True, False):
        part = [r for r in rows if r["image"] == kind]
        for i in range(0, len(part), window):
            chunk = sorted(part[i:i + window], key=length, reverse=True)
            out += [chunk[j:j + size] for j in range(0, len(chunk), size)]
    out = [b for b in out if len(b) == size]
    rng.shuffle(out)
    return [r for b in out for r in b]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shape", choices=SHAPES, default="small")
    p.add_argument("--stage", type=int, choices=(1, 2), default=2)
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--steps", type=int, default=6)
    p.add_argument("--warmup", type=int, default=1)
    p.add_argument("--device", default="cpu")
    p.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--grouped", action="store_true")
    p.add_argument("--rows", required=True)
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[a.dtype]
    torch.manual_seed(0)
    model, pinpoints, edge, side, vocab = build(a.shape, dtype, a.device)
    for name, q in model.named_parameters():
        q.requires_grad_("projector" in name or "newline" in name or (a.stage == 2 and "vision_tower" not in name))
    opt = torch.optim.AdamW([q for q in model.parameters() if q.requires_grad], lr=1e-4, weight_decay=0.0, fused=True)
    rows = json.load(open(a.rows))
    for i, r in enumerate(rows):
        r["size"] = SIZES[i % len(SIZES)]
    rows = [r for r in rows if r["image"] or a.stage == 2]
    if a.grouped:
        counts = {size: positions(size, pinpoints, edge, side)[0] for size in SIZES}
        rows = grouped(rows, a.batch, a.stage, lambda r: r["image"] * counts[r["size"]] + sum(
            q + n for q, n in (r["turns"][:1] if a.stage == 1 else r["turns"])))
    feed = batches(rows, a.batch, a.stage, pinpoints, edge, side, vocab, a.device, dtype)
    sync = torch.cuda.synchronize if a.device.startswith("cuda") else (lambda: None)
    seconds, real, padded = 0, 0, 0
    for step in range(a.warmup + a.steps):
        batch, n, width = next(feed)
        sync()
        start = time.perf_counter()
        loss = model(**batch).loss
        loss.backward()
        opt.step()
        opt.zero_grad(set_to_none=True)
        sync()
        if step >= a.warmup:
            seconds, real, padded = seconds + time.perf_counter() - start, real + n, padded + width
    print(json.dumps(dict(
        peer="transformers", shape=a.shape, stage=a.stage, device=a.device, dtype=a.dtype, batch=a.batch, steps=a.steps,
        grouped=a.grouped, tiles=True, samples_per_s=round(a.batch * a.steps / seconds, 3), tokens_per_s=round(real / seconds, 1),
        padding_share=round(1 - real / padded, 4), last_loss=round(float(loss), 4),
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, torch=torch.__version__)))


if __name__ == "__main__":
    main()
