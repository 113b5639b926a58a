"""Runs the programs of LLaVA's own server (haotian-liu/LLaVA, llava/serve/), so that ours can be tried beside them.

    python3 -m venv /tmp/serve
    /tmp/serve/bin/pip install fastapi uvicorn requests numpy pillow
    git clone https://github.com/haotian-liu/LLaVA /tmp/LLaVA
    LLAVA_CHECKOUT=/tmp/LLaVA SERVE_PYTHON=/tmp/serve/bin/python go test ./serve/web -run Original -v

The test starts ours, and theirs by this script:

    serve_original.py CHECKOUT controller --port 21001
    serve_original.py CHECKOUT worker --port 21002 --controller-address URL --worker-address URL --model-name NAME
    serve_original.py CHECKOUT ask --controller URL --model NAME --text TEXT [--image FILE]
    serve_original.py CHECKOUT templates NAME...

The code is the checkout's. Of what it imports torch, transformers, gradio and the model are replaced by the least that
it calls: the model repeats the question word by word, and the page is a list of what was shown. ask prints, a JSON line
each, what the web program shows while an answer comes, and templates which one it takes for a model of each name.
"""

import argparse
import json
import os
import pathlib
import queue
import runpy
import sys
import tempfile
import time
import types
from unittest import mock


def module(name, **members):
    made = types.ModuleType(name)
    vars(made).update(members)
    sys.modules[name] = made
    return made


def package(checkout):
    """llava without its __init__, which imports the models."""
    module("llava").__path__ = [str(checkout / "llava")]


class Ids:
    """Stands for a prompt's ids: one for every word."""

    def __init__(self, prompt):
        self.prompt, self.shape = prompt, (1, len(prompt.split()))

    def unsqueeze(self, _):
        return self

    def to(self, *_, **__):
        return self


class Streamer:
    """As transformers' TextIteratorStreamer."""

    def __init__(self, tokenizer, timeout=None, **_):
        self.queue, self.timeout = queue.Queue(), timeout

    def __iter__(self):
        while (text := self.queue.get(timeout=self.timeout)) is not None:
            yield text


class Model:
    """Says the question, with the sizes of its pictures after it. "wait N" waits so many seconds first."""

    config = types.SimpleNamespace(max_position_embeddings=2048)
    device = "cpu"

    def get_vision_tower(self):
        return types.SimpleNamespace(num_patches=576)

    def generate(self, inputs, streamer, max_new_tokens, images=None, image_sizes=None, **_):
        question = inputs.prompt.rsplit("USER:", 1)[-1].rsplit("ASSISTANT:", 1)[0].replace("<image>", "").strip()
        words = question.split(" ") + [f"{w}x{h}" for w, h in image_sizes or []]
        if words[0] == "wait":
            time.sleep(float(words[1]))
        for at, word in enumerate(words[:max_new_tokens]):
            streamer.queue.put(word if at == 0 else " " + word)
        streamer.queue.put(None)


def worker_imports():
    from PIL import Image

    def load_image(text):
        import base64
        import io

        return Image.open(io.BytesIO(base64.b64decode(text)))

    cuda = types.SimpleNamespace(CudaError=type("CudaError", (Exception,), {}))
    module("torch", inference_mode=lambda: lambda f: f, float16="float16", cuda=cuda)
    module("transformers", TextIteratorStreamer=Streamer)
    module("llava.model").__path__ = []
    module("llava.model.builder", load_pretrained_model=lambda *_, **__: (None, Model(), None, 2048))
    module("llava.mm_utils", load_image_from_base64=load_image,
           process_images=lambda images, *_: [mock.MagicMock() for _ in images],
           tokenizer_image_token=lambda prompt, *_, **__: Ids(prompt))


def web(controller):
    """The web program's module, with a gradio that shows nothing."""
    sys.modules["gradio"] = mock.MagicMock()
    import llava.serve.gradio_web_server as program

    program.args = argparse.Namespace(controller_url=controller, moderate=False)
    return program


def ask(controller, model, text, image, out):
    from PIL import Image

    program = web(controller)
    request = types.SimpleNamespace(client=types.SimpleNamespace(host="127.0.0.1"))
    print(json.dumps({"models": program.get_model_list()}), file=out)
    state = program.default_conversation.copy()
    picture = Image.open(image).convert("RGB") if image else None
    state = program.add_text(state, text, picture, "Default", request)[0]
    for shown in program.http_bot(state, model, 0.2, 0.7, 512, request):
        print(json.dumps({"shown": shown[0].messages[-1][-1]}), file=out, flush=True)


def templates(names, out):
    """Has the web program ask nobody, and looks at which template it took."""
    program = web("http://nobody")
    taken = []

    class Table(dict):
        def __getitem__(self, name):
            taken.append(name)
            return super().__getitem__(name)

    program.conv_templates = Table(program.conv_templates)
    program.requests = mock.MagicMock()
    program.requests.post.return_value.json.return_value = {"address": ""}
    for name in names:
        state = program.default_conversation.copy()
        state.append_message(state.roles[0], "hello")
        state.append_message(state.roles[1], None)
        try:
            list(program.http_bot(state, name, 0.2, 0.7, 512, mock.MagicMock()))
            fails = False
        except KeyError:
            fails = True
        print(json.dumps({"name": name, "template": taken[-1], "fails": fails}), file=out)


def main():
    checkout, command, rest = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3:]
    out = sys.stdout  # the original takes it for its log
    os.chdir(tempfile.mkdtemp(prefix="llava-"))
    package(checkout)
    if command in ("controller", "worker"):
        name = "llava.serve." + {"worker": "model_worker"}.get(command, command)
        if command == "worker":
            worker_imports()
        sys.argv = [name, *rest]
        runpy.run_module(name, run_name="__main__")
    elif command == "ask":
        parser = argparse.ArgumentParser()
        for flag in ("--controller", "--model", "--text", "--image"):
            parser.add_argument(flag)
        flags = parser.parse_args(rest)
        ask(flags.controller, flags.model, flags.text, flags.image, out)
    elif command == "templates":
        templates(rest, out)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
