"""Makes template_golden.jsonl: conversations as the families' own chat templates spell them, and the ids of that by the vocabularies
of tokenizer_make.py. The templates of Llama 3, Llama 3.1, Qwen 2.5,
Qwen 3 and Phi 3.5 are files of the source package of llama-cpp-python, which is read and not installed. Run in data/testdata:

    pip install transformers==5.17.0 jinja2
    pip download --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.16
    python template_make.py
"""
import ast
import gzip
import json
import re
import tarfile

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

VOCABULARIES = {"llama_3": "llama3", "llama_3_1": "llama3", "qwen_2": "qwen2", "qwen_2_5": "qwen2", "qwen_3": "qwen2",
                "smollm2": "qwen2", "phi_3": "phi3"}
PACKAGE = "llama_cpp_python-0.3.16"
QWEN_2 = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
          "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
          "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")  # Qwen/Qwen2-7B-Instruct, tokenizer_config.json
SMOLLM2 = QWEN_2.replace("You are a helpful assistant.", "You are a helpful AI assistant named SmolLM, trained by "
                         "Hugging Face")  # HuggingFaceTB/SmolLM2-135M-Instruct, tokenizer_config.json
CONVERSATIONS = [
    ["Hi?", "A cat."],
    ["<image>\nHi?", "A cat.", "Why?", "It sat."],
    ["<image>", "Two dogs,\n\nand a 猫 🐈.", "Count: 1, 2, 3", "3"],
    ["  What is\tthis? \n", "\n A list:\n- one\n- two\n\n", "And?", " that's all "],
    ["Hi?", "\n\nA cat.\n"],
    ["x" * 50, "y", "{{ z }}", "{% if %}", "'\"\\", "<b>&amp;</b>"],
]


def templates():
    with tarfile.open(PACKAGE + ".tar.gz") as package:
        def read(name):
            return package.extractfile(f"{PACKAGE}/{name}").read().decode()
        folder = "vendor/llama.cpp/models/templates/"
        formats = read("llama_cpp/llama_chat_format.py")
        return {
            "llama_3": ast.literal_eval(re.search(r"^LLAMA3_INSTRUCT_CHAT_TEMPLATE = (.*)$", formats, re.M).group(1)),
            "llama_3_1": read(folder + "meta-llama-Llama-3.1-8B-Instruct.jinja"),
            "qwen_2": QWEN_2,
            "qwen_2_5": read(folder + "Qwen-Qwen2.5-7B-Instruct.jinja"),
            "smollm2": SMOLLM2,
            "qwen_3": read(folder + "Qwen-Qwen3-0.6B.jinja"),
            "phi_3": read(folder + "microsoft-Phi-3.5-mini-instruct.jinja"),
        }


def main():
    with open("template_golden.jsonl", "w", encoding="utf8") as out:
        for name, template in templates().items():
            with gzip.open(f"../tokenizer/testdata/tokenizer_{VOCABULARIES[name]}.json.gz", "rt", encoding="utf8") as f:
                vocabulary = Tokenizer.from_str(f.read())
            tokenizer = PreTrainedTokenizerFast(tokenizer_object=vocabulary, bos_token="<|begin_of_text|>", eos_token="<|endoftext|>")
            for turns in CONVERSATIONS:
                messages = [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]
                text = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
                prompt = tokenizer.apply_chat_template(messages[:1], chat_template=template, tokenize=False, add_generation_prompt=True,
                                                       enable_thinking=False)  # Qwen 3
                out.write(json.dumps({"template": name, "turns": turns, "text": text, "prompt": prompt,
                                      "ids": vocabulary.encode(text, add_special_tokens=False).ids}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
