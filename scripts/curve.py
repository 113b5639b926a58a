"""Helper of gpu-suite.sh, standard library only.

curve.py recipe SHARED NAME STAGE LOSS FOLDER   writes curve.yaml and its rows for a recorded curve of the original
curve.py random SHARED SHAPE STAGE FOLDER       writes curve.yaml for a model of one of bench's shapes, random weights
curve.py compare SHARED NAME METRICS            prints the largest relative differences of loss and gradient norm, JSON
curve.py same RUN RUN                           prints true when two finished runs are equal, byte for byte
"""
import json
import os
import sys


def recipe(shared, name, stage, loss, folder):
    shared = os.path.abspath(shared)
    h = json.load(open(f"{shared}/parity/{name}.json"))
    rows = json.load(open(f"{shared}/coco-mini/{h['data']}"))
    os.makedirs(folder, exist_ok=True)
    order = [i for step in h["curve"] for micro in step["micro_batches"] for i in micro]
    json.dump([rows[i] for i in order], open(f"{folder}/rows.json", "w"))
    lr = h["learning_rate"]
    train = f"{{projector: {{lr: {lr}}}}}"
    if stage == "finetune":
        train = f"{{projector: {{lr: {lr}}}, language: {{lr: {lr}}}}}"
    with open(f"{folder}/curve.yaml", "w") as f:
        f.write(f"""model:
  vision: {{weights: {shared}/parity/clip}}
  projector: {{type: {h['mm_projector_type']}, weights: {shared}/parity/{h['initial_projector']}}}
  language: {{weights: {shared}/parity/llm, tokenizer: {{path: {shared}/llama-tokenizer, legacy: "false"}}}}
{stage}:
  data: [{{path: rows.json, images: {shared}/coco-mini/images}}]
  template: {h['template']}
  image: {h['image_aspect_ratio']}
  order: sequential
  train: {train}
  batch: {{global: {h['batch'] * h['accumulation']}, micro: {h['batch']}}}
  steps: {len(h['curve'])}
  schedule: {{type: cosine, warmup: {h['warmup_ratio']}}}
  optimizer: {{clip: 0}}
  loss: {loss}
""")


def random(shared, shape, stage, folder):
    shared = os.path.abspath(shared)
    sys.path.insert(0, f"{shared}/peer")
    from hf_llava import SHAPES  # bench's; their vocabulary is replaced by the tokenizer's here
    vision, language = SHAPES[shape]
    keys = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    os.makedirs(folder, exist_ok=True)
    tower = dict(zip(keys + ("image_size", "patch_size"), vision), model_type="clip_vision_model")
    json.dump(tower, open(f"{folder}/vision.json", "w"))
    decoder = dict(zip(keys, language), model_type="llama", vocab_size=32000, max_position_embeddings=4096)
    json.dump(decoder, open(f"{folder}/language.json", "w"))
    train = {"pretrain": "{projector: {lr: 1e-3}}", "finetune": "{projector: {lr: 2e-5}, language: {lr: 2e-5}}"}[stage]
    rows = "pretrain" if stage == "pretrain" else "instruct"
    with open(f"{folder}/curve.yaml", "w") as f:
        f.write(f"""model:
  vision: {{config: vision.json}}
  projector: {{type: mlp2x_gelu}}
  language: {{config: language.json, tokenizer: {{path: {shared}/llama-tokenizer, legacy: "false"}}}}
{stage}:
  data: [{{path: {shared}/coco-mini/{rows}.json, images: {shared}/coco-mini/images}}]
  template: {'plain' if stage == 'pretrain' else 'v1'}
  train: {train}
  batch: {{global: 4, micro: 2}}
  steps: 4
""")


def compare(shared, name, metrics):
    want = json.load(open(f"{shared}/parity/{name}.json"))["curve"]
    got = [json.loads(line) for line in open(metrics)]
    assert len(got) == len(want), f"{len(got)} steps, want {len(want)}"
    worst = lambda key: max(abs(a[key] - b[key]) / abs(b[key]) for a, b in zip(got, want))
    print(json.dumps({"loss": worst("loss"), "grad_norm": worst("grad_norm")}))


def same(a, b):
    measured = lambda key: key.endswith(("_ms", "_per_s")) or key == "peak_memory_bytes"
    kept = lambda line: {k: v for k, v in json.loads(line).items() if not measured(k)}
    lines = lambda run: [kept(line) for line in open(f"{run}/metrics.jsonl")]
    newest = lambda run: sorted(d for d in os.listdir(f"{run}/checkpoints") if d.startswith("step-"))[-1]
    tensors = lambda run: [open(f"{run}/checkpoints/{newest(run)}/{file}", "rb").read()
                           for file in ("model.safetensors", "optimizer.safetensors")]
    print(json.dumps(lines(a) == lines(b) and newest(a) == newest(b) and tensors(a) == tensors(b)))


if __name__ == "__main__":
    {"recipe": recipe, "random": random, "compare": compare, "same": same}[sys.argv[1]](*sys.argv[2:])
