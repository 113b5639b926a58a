"""Makes tokenizer_*.json.gz and tokenizer_golden.jsonl.gz: small vocabularies with the components that the tokenizer.json of known
families has, and what Hugging Face's library encodes and decodes with them; and tokenizer_pieces.jsonl.gz: the lengths of the pieces that
its pre-tokenizers cut the same texts into. Run in data/tokenizer/testdata, with ../shared beside the repository:

    pip install tokenizers==0.23.3
    python tokenizer_make.py
"""
import gzip
import json
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SHARED = "../../../../shared/"
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA_3 = CONTRACTIONS + r"\p{N}{1,3}" + REST
QWEN_2 = CONTRACTIONS + r"\p{N}" + REST
O200K_WORD = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s|"
              r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s|")
O200K_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = O200K_WORD.replace("%s", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?") + r"\p{N}{1,3}" + O200K_REST
TEKKEN = O200K_WORD.replace("%s", "") + r"\p{N}" + O200K_REST
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")
QWEN_3_5 = CONTRACTIONS.replace(r"\p{L}+", r"[\p{L}\p{M}]+") + r"\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
DEEPSEEK_2 = ["[\r\n]", "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓΑ-ωА-я]+", "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "\\s+$", "[一-龥ࠀ-一가-퟿]+"]
DEEPSEEK_3 = [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
              "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|"
              "\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]
POOLS = ["abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJ", "0123456789", "    ", "\n\t\r ", ".,;:!?'\"()[]{}<>/\\|@#$%^&*", "éüßñçøÅﬁ½²Ⅷ", "▁",
         "中文字符猫，。", "ひらがなカナ", "한국어각", "שלום", "مرحبا٣", "ไทยที่นี้", "हिन्दी", "🐈👩‍👩‍👧‍👦🇩🇪👍🏽❤️", "\u200b\u00a0\u3000\ufeff\u0007\x00\x1c\u0085\u2028",
         "\U00020000\U0002ebf0", "\u0301\u0300\u0323\u031b\u0345", "ĠĊaéÿ", "'sStT'reVEmlLdDſ’", "\ufffd\ufffe\uffff\U0010ffff\u0080\u00ad"]
PHRASES = ["Ein Hund läuft über die Straße.", "El niño comió una manzana.", "Le chat noir dort.", "Кошка сидит на окне.", "Η γάτα κοιμάται.",
           "猫在桌子上睡觉。", "猫がテーブルの上で寝ている。", "고양이가 탁자 위에서 잔다.", "القطة نائمة على الطاولة.", "החתול ישן על השולחן.", "แมวนอนอยู่บนโต๊ะ",
           "बिल्ली मेज़ पर सो रही है।", "for (int i = 0; i < 10; i++) {\n    x[i] = f(i);\n}", "def f(x):\n\treturn x ** 2", "We'll see; they've said it's 1234567.",
           "naïve café résumé", "🐈 sat 🐕 ran 👍🏽", "Tiếng Việt có dấu", "don't DON'T I'm I'M you're YOU'RE", "   indented\n\n\n  twice"]
WORDS = ["don't", "DON'T", "'ſ", "it’s", "we've", "I'LL", "1234567", "3.14159", "١٢٣", "Ⅷ½²", "e\u0301", "한\u1100\u1161\u11a8", "\u0958", "\u2126", "\ufb01",
         "<s>", "</s>", "<unk>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|begin_of_text|>", "<|im_start|>", "<|im_end|>",
         "<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>", "<tool_call>", "<|im_end", "<0x0A>", "<0xE4>", "Ġthe", "[TAG]", "[PAD ]", "Wort", "élan",
         "user", "assistant", "\n\n", "\n \n", "\t\t", "   ", "\r\n", "http://a.b/c?d=e&f=g#h", "x" * 70, "=" * 40, "\u0301" * 33]
TEXTS = ["", " ", "  ", "\n", "\n\n", " \n ", "\t", "▁", "▁▁", " ▁ ", "\x00", "\u00a0", "\u3000x", "a", " a", "a ", "  a  ", "a\nb", "a \nb", "a\n b", "a \n b", "a\n\n b",
         "a\r\nb", "a\t\tb", "!\n\n", "! \n\n", " !\n x", "a  b   c    d", "    if x:\n        y()\n", "\n" * 30, " " * 50, " " * 50 + "x", "\t" * 9 + "x",
         "Hello, world!", "'s", " 's", "x's 'S", "'ſ 'ſx", "'R 're'RE'Re 'VE", "'", "''", "'x", "' s", "1", "12", "123", "1234", "12345", " 1234", "a1b22c333d4444",
         "1,234.5", "½¾", "٣٤٥٦", "²³", "Ⅷ", "①②③④", "e\u0301", "\u0301", "\u0301e", "é", "a\u0323\u0307", "a\u0307\u0323", "a\u0345\u0301", "\u1100\u1161", "\u1100\u1161\u11a8",
         "가\u11a8", "\u0344", "\u2126\u212b", "\u0958", "\u09c7\u09be", "\U0001d15e", "\uf900", "x" + "\u0301" * 40, "\u0301\u0323" * 20, "\u1e9b\u0323", "\U00011935\U00011930", "a\u0898\u0323",
         "x\u07fd\u0301", "\U00010d50\U00010d40", "\U00013460", "\u1c89a", "\U0002ebf0中", "👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "❤️", "👍🏽👍🏿", "\ud7ff\ue000", "\ufffd", "\ufffe\uffff",
         "\U0010ffff", "\u200d", "\u200b", "\ufeffBOM", "\u2028x\u2029y", "\u0085x", "\x1c\x1d\x1e\x1f", "\x7f\x80\x9f", "\u180e", "ไทย", "ที่นี่", "नमस्ते", "שָׁלוֹם", "مَرْحَبًا",
         "Straße STRASSE", "ǅ ǆ", "İıſK", "ﬆ ﬁ", "ÿĀŁŃ", "Ġ Ċ Ā", "€£¥", "–—…", "a_b__c", "@user #tag", "x@y.z", "C:\\a\\b", "/* c */ // d", "<html><b>&amp;</b>", "{{}} [[]] (())", "x=1;y=2",
         "<s>", "<s>a", "a<s>", " <s> a", "</s></s>", "<s></s>\n", "<|end|>\n<|user|>\n  Hi", "<|user|>\n\n\n", "<|end|>", "<|end|> \t\n", "<|user|><|end|>", "a<|end|>b", "<|eot_id|>x",
         "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|im_end|> <|im_end|>\n", "<<s>>", "< /s>", "<|im_start", "[TAG]", "a[TAG]b",
         "a  [TAG]  b", "[TAG][TAG]", " [TAG]\n", "Wort", "Worte", "ein Wort.", "Wort Wort", "xWort", "_Wort_", "éWort", "1Wort", "Wort\u0301", "[PAD ]", "élan", "e\u0301lan", "x élan y", "élan élan", "élan[TAG]élan", "\u0301Wort"]


def lines(name):
    with open(SHARED + name, encoding="utf8") as f:
        return [line.strip() for line in f if line.strip()]


CORPUS = lines("coco-mini/instruct.json")[:4000] + PHRASES * 20


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert=invert)


def digits(individual):
    return pre_tokenizers.Digits(individual_digits=individual)


def letters(use_regex=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def sequence(steps, specials, vocab_size, lacking="", **model):
    """A byte-level vocabulary behind any pre-tokenizers. It may lack the bytes that the corpus does not have, apart from ASCII or all."""
    t = Tokenizer(models.BPE(**model))
    t.pre_tokenizer = pre_tokenizers.Sequence(steps)
    t.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if lacking:
        alphabet = [letter for letter in sorted(alphabet) if "!" <= letter <= "~"] + ["Ġ", "Ċ", "ĉ"] if lacking == "symbols" else []
    base = [model["unk_token"]] if "unk_token" in model else []
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, special_tokens=base, show_progress=False))
    t.add_tokens(specials)
    return t


def byte_level(pattern, normalizer, specials, vocab_size, ignore_merges):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pattern:
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated", invert=False),
                                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.add_tokens(specials)
    return t


def sentence_piece(normalizer, pre_tokenizer, split, specials, vocab_size, strip=True):
    t = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.Metaspace(split=split)
    base = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    t.train_from_iterator([line[:200] for line in CORPUS], trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=base, limit_alphabet=90, show_progress=False))
    model = json.loads(t.to_str())["model"]  # without the added tokens of training
    t = Tokenizer(models.BPE(vocab=model["vocab"], merges=[tuple(m) for m in model["merges"]], byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    if normalizer:
        t.normalizer = normalizer
    if pre_tokenizer:
        t.pre_tokenizer = pre_tokenizer
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    t.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if strip else []))
    t.add_tokens(specials)
    return t


def control(*contents, **flags):
    return [AddedToken(c, special=True, normalized=False, **flags) for c in contents]


def bos(token, id, *before):
    return processors.Sequence([*before, processors.TemplateProcessing(single=f"{token} $A", special_tokens=[(token, id)])])


def legacy():
    return normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])


def families():
    """The components as in the tokenizer.json of Llama-3-8B, Qwen2-7B, gpt2, Phi-3-mini and Mistral-7B-v0.3; odd and whole have every
    flag of added tokens, behind a normalizer that rewrites them. Then those of SmolLM2, Falcon-7B, DeepSeek-V2 and V3, Mistral-Nemo,
    gpt-oss, Phi-4 and Gemma. smollm and unknown lack bytes: one drops them, the other has an unknown token."""
    f = {}
    llama = control("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    f["llama3"] = byte_level(LLAMA_3, None, llama, 900, True)
    f["llama3"].post_processor = bos("<|begin_of_text|>", f["llama3"].token_to_id("<|begin_of_text|>"), processors.ByteLevel(trim_offsets=False))
    qwen = control("<|endoftext|>", "<|im_start|>", "<|im_end|>") + [AddedToken("<tool_call>", normalized=False)]
    f["qwen2"] = byte_level(QWEN_2, normalizers.NFC(), qwen, 800, False)
    f["qwen2"].post_processor = processors.ByteLevel(trim_offsets=False)
    f["gpt2"] = byte_level(None, None, control("<|endoftext|>"), 700, False)
    stripping = [AddedToken("[TAG]", lstrip=True, rstrip=True), AddedToken("[PAD ]"), AddedToken("Wort", single_word=True), AddedToken("élan", normalized=True)]
    f["odd"] = byte_level(QWEN_2, normalizers.NFC(), stripping + control("<|end|>", rstrip=True), 400, True)
    f["phi3"] = sentence_piece(legacy(), None, True, control("<unk>", "<s>") + control("</s>", rstrip=True) + control("<|endoftext|>") +
                               control("<|assistant|>", "<|end|>", "<|user|>", "<|system|>", rstrip=True), 900)
    f["phi3"].post_processor = processors.TemplateProcessing(single="$A")
    f["mistral"] = sentence_piece(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False), True, control("<unk>", "<s>", "</s>", "[INST]", "[/INST]"), 800)
    f["mistral"].post_processor = bos("<s>", 1)
    f["words"] = sentence_piece(None, pre_tokenizers.Metaspace(prepend_scheme="always", split=True), True, control("<unk>", "<s>", "</s>") + stripping, 600, strip=False)
    f["whole"] = sentence_piece(legacy(), None, False, control("<unk>", "<s>", "</s>") + stripping, 600)
    f["smollm"] = sequence([digits(True), letters(True)], control("<|im_start|>", "<|im_end|>"), 500, "symbols")
    f["unknown"] = sequence([digits(True), letters(True)], control("<|im_start|>", "<|im_end|>"), 450, "all", unk_token="<unk>", fuse_unk=True)
    f["falcon"] = sequence([pre_tokenizers.Punctuation("contiguous"), letters(True), digits(False), split("[0-9][0-9][0-9]")],
                           control("<|endoftext|>"), 500)
    f["deepseek2"] = sequence([*map(split, DEEPSEEK_2), digits(True), letters()], control("<|end|>"), 500)
    f["deepseek3"] = sequence([*map(split, DEEPSEEK_3), letters()], control("<|end|>"), 500)
    f["nemo"] = sequence([split(TEKKEN), letters()], control("<s>", "</s>"), 500, ignore_merges=True)
    f["gptoss"] = sequence([split(O200K), letters()], control("<|return|>"), 500, ignore_merges=True)
    f["phi4"] = sequence([split(CL100K, "removed", True), letters()], control("<|im_end|>"), 500)
    f["gemma"] = sentence_piece(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"), False,
                                control("<unk>", "<s>", "</s>") + [AddedToken("\n\n", normalized=False), AddedToken("<b>", normalized=False)],
                                600, strip=False)
    return f


def pieces(texts):
    """A line for each pre-tokenizer: its JSON, and for each text the lengths of its pieces in characters, or behind ByteLevel in letters."""
    patterns = [LLAMA_3, QWEN_2, GPT_2, O200K, TEKKEN, CL100K, QWEN_3_5, *DEEPSEEK_2, *DEEPSEEK_3,
                r"\d+|\D", r"(?:a|b|\p{Ll}\p{M}?)?[\t ](?=\S)", r"(?i:[sdmt]|ll|k)[^a-dA-D\t]", r"\P{L}{2,}", r"x{3}|x{2,5}y?|\$|\p{Nd}{1,2}"]
    for p in [split(p) for p in patterns] + [pre_tokenizers.Split("a ", "isolated"), split(CL100K, "removed", True), digits(True), digits(False),
                                             pre_tokenizers.Punctuation(), pre_tokenizers.Punctuation("contiguous")]:
        yield cut(p, texts, [])
    for p in [split("[0-9]{3}"), split("[a-zĠ]+[a-e]|Ċ$"), split("\\p{Lu}?\\p{N}+$"), digits(True), digits(False), pre_tokenizers.Punctuation()]:
        yield cut(p, texts, [letters()])


def cut(p, texts, before):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = p
    both = pre_tokenizers.Sequence([*before, p])
    return json.dumps({"component": json.loads(t.to_str())["pre_tokenizer"], "letters": bool(before),
                       "pieces": [[len(piece) for piece, _ in both.pre_tokenize_str(text)] for text in texts]}, ensure_ascii=False)


def random_text(words):
    text = ""
    for _ in range(random.randint(1, 5)):
        kind = random.random()
        if kind < 0.3:
            text += random.choice(words) + random.choice([" ", "", "  ", "\n"])
        elif kind < 0.5:
            text += random.choice(WORDS) + random.choice([" ", ""])
        elif kind < 0.6:
            text += random.choice(PHRASES)[:20]
        else:
            pool = random.choice(POOLS)
            text += "".join(random.choice(pool) for _ in range(random.randint(1, 6)))
    return text


def write(name, text):
    with open(name, "wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=9, mtime=0) as f:
        f.write(text.encode())


def main():
    random.seed(5)
    words = " ".join(CORPUS).split()
    texts = TEXTS + WORDS + PHRASES
    while len(texts) < 620:
        text = random_text(words)
        if len(text) < 80 and text not in texts:
            texts.append(text)
    rows = [json.dumps({"texts": texts}, ensure_ascii=False)]
    for family, tokenizer in families().items():
        content = json.loads(tokenizer.to_str())
        write(f"tokenizer_{family}.json.gz", json.dumps(content, ensure_ascii=False, separators=(",", ":")))
        tokenizer = Tokenizer.from_str(json.dumps(content))
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        random_ids = [[random.randrange(tokenizer.get_vocab_size()) for _ in range(random.randint(1, 9))] for _ in range(150)]
        random_ids += [[random.randrange(3, 259) for _ in range(random.randint(1, 6))] for _ in range(150)]  # mostly bytes
        decoded = [tokenizer.decode(i, skip_special_tokens=True) for i in ids]
        rows.append(json.dumps({
            "family": family, "ids": ids, "decoded": [None if d == t else d for d, t in zip(decoded, texts)],
            "random": random_ids, "random_decoded": [tokenizer.decode(i, skip_special_tokens=True) for i in random_ids],
        }, ensure_ascii=False, separators=(",", ":")))
    write("tokenizer_golden.jsonl.gz", "\n".join(rows) + "\n")
    write("tokenizer_pieces.jsonl.gz", "\n".join(pieces(texts)) + "\n")


if __name__ == "__main__":
    main()
