"""Loads a folder that `llavatrain export --format hf` wrote into transformers' LlavaForConditionalGeneration and
compares its outputs with those of llavatrain.

    pip install -r scripts/reference/requirements.txt
    REFERENCE_PYTHON=python3 make reference

calls it as `exported.py FOLDER RECORD [FOLDER RECORD...]`. RECORD is a safetensors file with, for each question k,
k.input_ids [L] (image tokens expanded), k.levels [3,S,S] of the prepared image and k.pixels [3,S,S], the same
normalised, k.logits [V] at the last position and k.tokens [n] of the greedy answer; its metadata hold k.question. The
folder is in fp32; logits must agree within 1e-4.
"""

import sys

import safetensors
import torch
import transformers
from transformers import AutoProcessor, LlavaForConditionalGeneration

for module, pinned in (torch, "2.11.0"), (transformers, "5.17.0"):
    if module.__version__.split("+")[0] != pinned:
        sys.exit(f"{module.__name__} is {module.__version__}; the comparison is pinned to {pinned}")

TOLERANCE = 1e-4


def compare(folder, record):
    model, loading = LlavaForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager")
    model.eval()
    problems = [f"loading: {kind}: {sorted(keys)}" for kind, keys in loading.items() if keys]
    processor = AutoProcessor.from_pretrained(folder)
    with safetensors.safe_open(record, "pt") as f:
        values = {name: f.get_tensor(name) for name in f.keys()}
        texts = f.metadata()
    worst = 0
    for k in range(sum(name.endswith(".logits") for name in values)):
        question = {name: values[f"{k}.{name}"] for name in ("input_ids", "levels", "pixels", "logits", "tokens")}
        difference, wrong = ask(model, question)
        worst = max(worst, difference)
        wrong += prepare(processor, question, texts[f"{k}.question"])
        problems += [f"question {k}: {problem}" for problem in wrong]
    name = f"{model.config.text_config.model_type} with {model.config.vision_config.model_type}"
    largest = values["0.logits"].abs().max()
    print(f"{name}: largest difference of the logits {worst:.3g}, of logits up to {largest:.3g}")
    return [f"{name}: {problem}" for problem in problems]


def ask(model, question):
    """Logits and the greedy answer."""
    ids, pixels, tokens = question["input_ids"][None], question["pixels"][None], question["tokens"]
    with torch.no_grad():
        logits = model(input_ids=ids, pixel_values=pixels).logits[0, -1]
        made = model.generate(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids), do_sample=False,
                              max_new_tokens=len(tokens))[0, ids.shape[1]:]
    difference = (logits - question["logits"]).abs().max().item()
    problems = []
    if not difference <= TOLERANCE:
        problems.append(f"logits differ by {difference}")
    if made.tolist() != tokens.tolist():
        problems.append(f"tokens {made.tolist()}, llavatrain made {tokens.tolist()}")
    return difference, problems


def prepare(processor, question, text):
    """Checks that the chat template, the tokenizer and the processor make the ids and pixels that llavatrain makes."""
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
    image = question["levels"].permute(1, 2, 0).numpy()
    made = processor(images=image, text=processor.apply_chat_template(chat, add_generation_prompt=True),
                     return_tensors="pt")
    theirs, ours, problems = made["input_ids"][0].tolist(), question["input_ids"].tolist(), []
    if theirs != ours:
        problems.append(f"the processor makes the ids {theirs}, llavatrain {ours}")
    pixels = made["pixel_values"]
    if pixels.shape[1:] != question["pixels"].shape or not torch.allclose(pixels[0], question["pixels"], atol=1e-5):
        problems.append("the processor makes different pixels")
    return problems


pairs = zip(sys.argv[1::2], sys.argv[2::2], strict=True)
sys.exit("\n".join(problem for folder, record in pairs for problem in compare(folder, record)) or 0)
