"""Loads a folder that `llavatrain export --format hf` wrote into transformers' LLaVA, LLaVA-NeXT or LLaVA-OneVision and
compares its outputs with those of llavatrain.

    pip install -r scripts/reference/requirements.txt
    REFERENCE_PYTHON=python3 make reference

calls it as `exported.py [--train] FOLDER RECORD [FOLDER RECORD...]`. RECORD is a safetensors file with, for each
question k, k.input_ids [L] (image tokens expanded), k.photo [H,W,3] as decoded, k.levels [3,S,S] of the prepared image
and k.pixels [3,S,S], the same normalised ([tiles,3,S,S] for a model with tiles), k.logits [V] at the last position and k.tokens [n] of the greedy answer; its
metadata hold k.question. The folder is in fp32; logits must agree within 1e-4, pixels of the photo within 1e-3 with the
processors that use Pillow and within one level of 255 (0.0151 for CLIP) with those of torchvision, if it is installed. Loading
must not warn. --train also takes a training step from the folder and saves the model.
"""

import importlib.util
import logging
import sys
import tempfile

import safetensors
import torch
import transformers
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor

for module, pinned in (torch, "2.11.0"), (transformers, "5.17.0"):
    if module.__version__.split("+")[0] != pinned:
        sys.exit(f"{module.__name__} is {module.__version__}; the comparison is pinned to {pinned}")

TOLERANCE = 1e-4
PIXELS = 1e-3
BACKENDS = {"pil": 0, "torchvision": 1}  # levels of 255 by which pixels may differ in addition
TILE_LEVELS = 7  # by which torchvision's tiles differ from Pillow's, in the worst of many photos


class Warnings(logging.Handler):
    """Collects what transformers warns of."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


warned = Warnings()
logging.getLogger("transformers").addHandler(warned)


def compare(folder, record, train):
    warned.texts.clear()
    model, loading = AutoModelForImageTextToText.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager")
    model.eval()
    problems = [f"loading: {kind}: {sorted(keys)}" for kind, keys in loading.items() if keys]
    processor = AutoProcessor.from_pretrained(folder)
    problems += [f"loading warns: {text}" for text in warned.texts]
    with safetensors.safe_open(record, "pt") as f:
        values = {name: f.get_tensor(name) for name in f.keys()}
        texts = f.metadata()
    worst = 0
    for k in range(sum(name.endswith(".logits") for name in values)):
        question = {name: values[f"{k}.{name}"] for name in ("input_ids", "photo", "levels", "pixels", "logits", "tokens")}
        difference, wrong = ask(model, question)
        worst = max(worst, difference)
        if has_tiles(model):
            wrong += tile(folder, processor, question, texts[f"{k}.question"])
        else:
            wrong += prepare(processor, question, texts[f"{k}.question"])
        wrong += pixels(folder, question)
        problems += [f"question {k}: {problem}" for problem in wrong]
    if train:
        problems += step(model, inputs(model, {name: values[f"0.{name}"] for name in ("input_ids", "photo", "pixels")}))
    name = f"{model.config.text_config.model_type} with {model.config.vision_config.model_type}"
    largest = values["0.logits"].abs().max()
    print(f"{name}: largest difference of the logits {worst:.3g}, of logits up to {largest:.3g}")
    return [f"{name}: {problem}" for problem in problems]


def has_tiles(model):
    return model.config.model_type != "llava"


def inputs(model, question):
    """What the model is called with."""
    given = {"input_ids": question["input_ids"][None], "pixel_values": question["pixels"][None]}
    if has_tiles(model):
        given["image_sizes"] = torch.tensor([question["photo"].shape[:2]])
    return given


def ask(model, question):
    """Logits and the greedy answer."""
    given, tokens = inputs(model, question), question["tokens"]
    ids = given["input_ids"]
    with torch.no_grad():
        logits = model(**given).logits[0, -1]
        made = model.generate(**given, attention_mask=torch.ones_like(ids), do_sample=False,
                              max_new_tokens=len(tokens))[0, ids.shape[1]:]
    difference = (logits - question["logits"]).abs().max().item()
    problems = []
    if not difference <= TOLERANCE:
        problems.append(f"logits differ by {difference}")
    ends = model.generation_config.eos_token_id  # where generate stops, and the record does not
    ended = made.tolist()[-1] in (ends if isinstance(ends, list) else [ends])
    if made.tolist() != tokens.tolist()[:len(made) if ended else None]:
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
    if crops(processor.image_processor):  # of the crop it makes another
        return problems
    if pixels.shape[1:] != question["pixels"].shape or not torch.allclose(pixels[0], question["pixels"], atol=1e-5):
        problems.append("the processor makes different pixels")
    return problems


def crops(images):
    """Whether the image processor crops more than what is longer than wide: DINOv2's does."""
    return bool(images.do_center_crop) and images.size["shortest_edge"] != images.crop_size["height"]


def tile(folder, processor, question, text):
    """Checks that the chat template, the tokenizer and the processor make the ids that llavatrain makes of the photo."""
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
    made = processor(images=question["photo"].permute(2, 0, 1).numpy(), return_tensors="pt",
                     text=processor.apply_chat_template(chat, add_generation_prompt=True))
    theirs, ours = made["input_ids"][0].tolist(), question["input_ids"].tolist()
    return [] if theirs == ours else [f"the processor makes {len(theirs)} ids {theirs}, llavatrain {len(ours)} {ours}"]


def pixels(folder, question):
    """Checks the pixels that each of transformers' image processors makes of the photo itself."""
    problems = []
    both = importlib.util.find_spec("torchvision") is not None
    for backend, levels in BACKENDS.items():
        if both:
            processor = AutoImageProcessor.from_pretrained(folder, backend=backend)
        elif backend == "pil":
            processor = AutoProcessor.from_pretrained(folder).image_processor
        else:
            continue
        made = processor(question["photo"].numpy(), input_data_format="channels_last", return_tensors="pt")["pixel_values"][0]
        if levels and question["pixels"].dim() == 4:
            levels = TILE_LEVELS
        difference = (made - question["pixels"]).abs().max().item() if made.shape == question["pixels"].shape else made.shape
        print(f"  {type(processor).__name__}: pixels of a photo of {list(question['photo'].shape)} differ by {difference:.3g}")
        if not isinstance(difference, float) or difference > PIXELS + levels / 255 / min(processor.image_std):
            problems.append(f"{type(processor).__name__} makes pixels that differ by {difference}")
    return problems


def step(model, given):
    """Takes one training step and saves the model, as whoever trains on does."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    loss = model(**given, labels=given["input_ids"]).loss
    loss.backward()
    optimizer.step()
    print(f"  a training step: loss {loss.item():.4f}")
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
    return [] if torch.isfinite(loss) else ["the loss of a training step is not finite"]


arguments = [argument for argument in sys.argv[1:] if argument != "--train"]
pairs = zip(arguments[::2], arguments[1::2], strict=True)
sys.exit("\n".join(problem for folder, record in pairs
                   for problem in compare(folder, record, "--train" in sys.argv)) or 0)
