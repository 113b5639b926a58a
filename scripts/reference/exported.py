"""Loads a folder that `llavatrain export --format hf` wrote with transformers' LlavaForConditionalGeneration and compares it with
what llavatrain computed.

    pip install -r scripts/reference/requirements.txt
    REFERENCE_PYTHON=python3 make reference

calls it as `exported.py FOLDER RECORD`. RECORD is a safetensors file with, for each question k, k.input_ids [L] (image
tokens expanded), k.pixels [3,S,S], k.logits [V] at the last position and k.tokens [n] of the greedy answer; its metadata hold
k.question. The folder is in fp32; logits must agree within 1e-4.
"""

import sys

import safetensors
import torch
import transformers
from transformers import AutoProcessor, LlavaForConditionalGeneration

for module, pinned in (torch, "2.11.0"), (transformers, "5.17.0"):
    if module.__version__.split("+")[0] != pinned:
        sys.exit(f"{module.__name__} is {module.__version__}; the comparison is pinned to {pinned}")

folder, record, tolerance = sys.argv[1], sys.argv[2], 1e-4
model, loading = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True, attn_implementation="eager")
model.eval()
problems = [f"loading: {kind}: {sorted(keys)}" for kind, keys in loading.items() if keys]
processor = AutoProcessor.from_pretrained(folder)

with safetensors.safe_open(record, "pt") as f:
    values = {name: f.get_tensor(name) for name in f.keys()}
    texts = f.metadata()

for k in range(sum(name.endswith(".logits") for name in values)):
    ids, pixels = values[f"{k}.input_ids"][None], values[f"{k}.pixels"][None].to(model.dtype)
    with torch.no_grad():
        logits = model(input_ids=ids, pixel_values=pixels).logits[0, -1].float()
        made = model.generate(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids), do_sample=False,
                              max_new_tokens=len(values[f"{k}.tokens"]))[0, ids.shape[1]:]
    worst = (logits - values[f"{k}.logits"]).abs().max().item()
    print(f"question {k}: largest difference of the logits {worst:.3g}")
    if not worst <= tolerance:
        problems.append(f"question {k}: logits differ by {worst}")
    if made.tolist() != values[f"{k}.tokens"].tolist():
        problems.append(f"question {k}: tokens {made.tolist()}, llavatrain made {values[f'{k}.tokens'].tolist()}")

    # The chat template and the tokenizer make the ids that llavatrain makes; the processor expands the mark.
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": texts[f"{k}.question"]}]}]
    size = model.config.vision_config.image_size
    picture = transformers.image_utils.to_numpy_array(torch.zeros(size, size, 3, dtype=torch.uint8))
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    theirs = processor(images=picture, text=text, return_tensors="pt")["input_ids"][0].tolist()
    if theirs != ids[0].tolist():
        problems.append(f"question {k}: the processor makes the ids {theirs}, llavatrain {ids[0].tolist()}")

sys.exit("\n".join(problems) or 0)
