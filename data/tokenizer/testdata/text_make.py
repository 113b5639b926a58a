"""Makes text_tiny.model and text_tiny.jsonl.gz: a small SentencePiece vocabulary, and what Hugging Face's slow LlamaTokenizer
encodes and decodes with it. Run in data/tokenizer/testdata, with ../shared beside the repository:

    pip install sentencepiece==0.2.3 transformers==4.37.2 'protobuf<5' 'numpy<2'
    python text_make.py
"""
import gzip
import io
import json
import random

import sentencepiece
from transformers import LlamaTokenizer

SHARED = "../../../../shared/"
POOLS = ["abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJ", "0123456789", "    ", "\n\t\r ", ".,;:!?'\"()[]{}<>/\\|@#$%^&*", "éüßñçøÅﬁ½", "▁",
         "中文字符猫", "ひらがなカナ", "한국어", "שלום", "مرحبا", "🐈👩‍👩‍👧‍👦🇩🇪👍🏽❤️", "\u200b\u00a0\u3000\ufeff\u0007\x00", "\U00020000", "\u0301\u0300"]
TEXTS = ["", " ", "  ", "\n", "▁", "▁▁", " ▁ ", "<s>", "</s>a", "a</s>", "<s> a", " <s>a", "a<unk>b", "</s></s>", "<<s>>", "< /s>",
         "</s> </s>\n", "USER: What is this? ASSISTANT: A cat.</s>USER: Why?", "internationalization", "A\tcat.\r\nA   dog.",
         "一只猫。 🐈", "👩‍👩‍👧‍👦", "<0x0A>", "e\u0301 é \ufeff\u00a0\u0000", "1234567"]


def lines(name):
    with open(SHARED + name, encoding="utf8") as f:
        return [line.strip() for line in f if line.strip()]


def train(path):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines("coco-mini/instruct.json") + lines("coco-mini/pretrain.json")), model_writer=model,
        vocab_size=600, model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        split_digits=True, allow_whitespace_only_pieces=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, minloglevel=2)
    with open(path, "wb") as f:
        f.write(model.getvalue())


def random_text(words):
    text = ""
    for _ in range(random.randint(1, 6)):
        if random.random() < 0.6:
            text += random.choice(words) + random.choice([" ", "", "  ", "\n"])
        else:
            pool = random.choice(POOLS)
            text += "".join(random.choice(pool) for _ in range(random.randint(1, 6)))
    return text


def main():
    train("text_tiny.model")
    random.seed(3)
    words = " ".join(lines("coco-mini/instruct.json")).split() + ["<s>", "</s>", "<unk>", "<image>", "USER:", "ASSISTANT:", "[INST]"]
    texts = TEXTS + [random_text(words) for _ in range(500)] + ["".join(random.choice("abcdefgstr+/") for _ in range(200))]
    with open("text_tiny.jsonl.gz", "wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=9, mtime=0) as f:
        for legacy in (True, False):
            tokenizer = LlamaTokenizer("text_tiny.model", legacy=legacy)
            for text in texts:
                ids = tokenizer(text, add_special_tokens=False).input_ids
                decoded = tokenizer.decode(ids, skip_special_tokens=True, spaces_between_special_tokens=False, clean_up_tokenization_spaces=False) if ids else ""
                f.write((json.dumps({"legacy": legacy, "text": text, "ids": ids, "decoded": decoded}) + "\n").encode())


main()
