"""Converts a folder that `llavatrain export --format hf` wrote with llama.cpp's own scripts, and compares every tensor
of the two GGUF files with the folder's.

    python3 -m venv /tmp/gguf
    /tmp/gguf/bin/pip install -r LLAMA_CPP/tools/mtmd/requirements.txt gguf
    /tmp/gguf/bin/python scripts/reference/to_gguf.py FOLDER LLAMA_CPP OUT [--outtype f16]

LLAMA_CPP is a checkout of llama.cpp. OUT becomes a folder with text.gguf and mmproj.gguf. docs/gguf.md has the same
commands one by one. The language model's tensors must have the folder's values, rounded to the file's dtype, in the
order of rows that the architecture llama wants for queries and keys; the tower's and the projector's too, where the
scripts write f16 for the patches and the projector whatever is asked for. Checked besides: chat template, number of
tokens, image constants, selected layer.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import safetensors
import torch
from transformers import AutoConfig

DTYPES = {gguf.GGMLQuantizationType.F32: torch.float32, gguf.GGMLQuantizationType.F16: torch.float16,
          gguf.GGMLQuantizationType.BF16: torch.bfloat16}
MADE = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}  # from the configuration


def run(*command):
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[0]}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def convert(folder, llama, out, outtype, config):
    """Calls llama.cpp's scripts: one for the language model, two for the tower and the projector."""
    phi = ["--model-name", "phi-3"] if config.text_config.model_type == "phi3" else []
    run(llama / "convert_hf_to_gguf.py", folder, "--outfile", out / "text.gguf", "--outtype", outtype, *phi)
    with tempfile.TemporaryDirectory(dir=out) as work:
        model, tower = pathlib.Path(work) / "model", pathlib.Path(work) / "tower"
        model.mkdir()
        tower.mkdir()
        for file in folder.resolve().iterdir():  # the script writes beside the weights
            (model / file.name).symlink_to(file)
        run(llama / "tools/mtmd/legacy-models/llava_surgery_v2.py", "-C", "-m", model)
        (model / "llava.clip").rename(tower / "pytorch_model.bin")
        vision = config.vision_config.to_dict()
        vision["vision_feature_layer"] = config.vision_feature_layer
        if vision["hidden_act"] == "gelu_pytorch_tanh":  # SigLIP's, which llama.cpp computes by this name
            vision["hidden_act"] = "gelu"
        (tower / "config.json").write_text(json.dumps(vision))
        image = json.loads((folder / "preprocessor_config.json").read_text())
        siglip = ["--clip-model-is-siglip"] if vision["model_type"] == "siglip_vision_model" else []
        run(llama / "tools/mtmd/legacy-models/convert_image_encoder_to_gguf.py", "-m", tower,
            "--llava-projector", model / "llava.projector", "--clip-model-is-vision", *siglip,
            *(["--use-f32"] if outtype == "f32" else []), "--output-dir", work,
            "--image-mean", *image["image_mean"], "--image-std", *image["image_std"])
        next(pathlib.Path(work).glob("mmproj-model-*.gguf")).rename(out / "mmproj.gguf")


def tensors(folder):
    """The folder's tensors, one at a time."""
    for file in sorted(folder.glob("*.safetensors")):
        with safetensors.safe_open(file, "pt") as f:
            for name in f.keys():
                yield name, f.get_tensor(name)


def field(reader, key):
    return reader.fields[key].contents() if key in reader.fields else None


def text_tensor(reader, config, names, name, tensor):
    """The name and the values that text.gguf should have for a tensor."""
    name = names.get_name(name.removeprefix("language_model."), try_suffixes=(".weight", ".bias"))
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    parts = (name or "").split(".")
    if field(reader, "general.architecture") == "llama" and len(parts) == 4 and parts[2] in heads:
        # from the two halves of each head to pairs of neighbours
        tensor = tensor.unflatten(0, (heads[parts[2]], 2, -1)).transpose(1, 2).flatten(0, 2)
    return name, tensor


def tower_tensor(layers, name, tensor):
    """The name and the values that mmproj.gguf should have for a tensor, no name for one that is left out."""
    for old, new in (r"^multi_modal_projector\.linear_1", "mm.0"), (r"^multi_modal_projector\.linear_2", "mm.2"), \
            (r"^vision_tower\.vision_model\.", "v."), (r"encoder\.layers\.", "blk."), (r"self_attn\.", "attn_"), \
            (r"_proj\.", "."), (r"layer_norm", "ln"), (r"pre_layrnorm", "pre_ln"), (r"mlp\.fc1", "ffn_down"), \
            (r"mlp\.fc2", "ffn_up"), (r"embeddings\.", ""), (r"_embedding", "_embd"):
        name = re.sub(old, new, name)
    block = re.match(r"v\.blk\.(\d+)\.", name)
    if block and int(block[1]) >= layers or name.startswith(("v.post_layernorm.", "v.head.")):
        return None, tensor
    return name, tensor.squeeze()


def compare(reader, expected, named, ignored=()):
    """Compares a file's tensors with those of the folder, and returns the problems and the number of tensors."""
    there, problems, number = {t.name: t for t in reader.tensors if not t.name.startswith(ignored)}, [], 0
    for name, tensor in expected:
        target, tensor = named(name, tensor)
        if target is None:
            continue
        found = there.pop(target, None)
        if found is None:
            problems.append(f"{name}: no {target}")
            continue
        number += 1
        values = torch.from_numpy(np.array(gguf.quants.dequantize(found.data, found.tensor_type)))
        want = tensor.to(DTYPES[found.tensor_type]).float()
        if values.squeeze().shape != want.squeeze().shape or not torch.equal(values.squeeze(), want.squeeze()):
            problems.append(f"{name}: {target} has other values or another shape ({list(values.shape)})")
    return problems + [f"{name} is of no tensor of the folder" for name in there if name not in MADE], number


def check(folder, out, config):
    text, tower = gguf.GGUFReader(out / "text.gguf"), gguf.GGUFReader(out / "mmproj.gguf")
    architecture = field(text, "general.architecture")
    arch = next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == architecture)
    names = gguf.get_tensor_name_map(arch, config.text_config.num_hidden_layers)
    language = ((n, t) for n, t in tensors(folder) if n.startswith("language_model."))
    problems, number = compare(text, language,
                               lambda n, t: text_tensor(text, config.text_config, names, n, t))
    selected = config.vision_feature_layer
    layers = selected if selected >= 0 else config.vision_config.num_hidden_layers + selected + 1
    rest = ((n, t) for n, t in tensors(folder) if not n.startswith("language_model."))
    more, seen = compare(tower, rest, lambda n, t: tower_tensor(layers, n, t), ("v.post_ln.", "v.head."))
    image = json.loads((folder / "preprocessor_config.json").read_text())

    def constants(key):
        return np.float32(field(tower, f"clip.vision.{key}")).tolist(), np.float32(image[key]).tolist()

    for what, got, want in (
            ("chat template", field(text, "tokenizer.chat_template"), (folder / "chat_template.jinja").read_text()),
            ("number of tokens", len(field(text, "tokenizer.ggml.tokens")), config.text_config.vocab_size),
            ("selected layer", field(tower, "clip.vision.feature_layer"), [layers]),
            ("image_mean", *constants("image_mean")), ("image_std", *constants("image_std")),
    ):
        if got != want:
            more.append(f"{what} is {got}, not {want}")
    print(f"{architecture} with {config.vision_config.model_type}: "
          f"{number} tensors in text.gguf and {seen} in mmproj.gguf")
    return problems + more


arguments = argparse.ArgumentParser(description="converts an hf export with llama.cpp and compares the tensors")
arguments.add_argument("folder", type=pathlib.Path)
arguments.add_argument("llama_cpp", type=pathlib.Path)
arguments.add_argument("out", type=pathlib.Path)
arguments.add_argument("--outtype", choices=["f32", "f16"], default="f16")
given = arguments.parse_args()
configuration = AutoConfig.from_pretrained(given.folder)
given.out.mkdir(parents=True)
convert(given.folder, given.llama_cpp, given.out, given.outtype, configuration)
sys.exit("\n".join(check(given.folder, given.out, configuration)) or 0)
