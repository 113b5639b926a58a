"""Times the usual path from a JPEG to a vision tower's pixels, for scripts/loader.sh.

    loader.py make SOURCE FOLDER   writes the 640x480 photos of SOURCE as JPEG of quality 90 with 4:2:0 chroma
    loader.py time FOLDER          prints images/s of Pillow and transformers' CLIP image processor on one thread:
                                   decode, pad to a square with the mean colour, resize to 336, normalise (LLaVA's
                                   image_aspect_ratio pad)
"""

import pathlib
import sys
import time

from PIL import Image


def make(source, folder):
    folder.mkdir(parents=True)
    for path in sorted(source.rglob("*.jpg")):
        image = Image.open(path).convert("RGB")
        if image.size == (640, 480):
            image.save(folder / path.name, quality=90, subsampling="4:2:0")


def pad(image, colour):
    side = max(image.size)
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def rate(folder, seconds=4):
    import torch
    from transformers.models.clip import CLIPImageProcessorPil

    torch.set_num_threads(1)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    colour = tuple(int(v * 255) for v in processor.image_mean)
    paths = sorted(folder.glob("*.jpg"))

    def run(path):
        return processor(pad(Image.open(path).convert("RGB"), colour), return_tensors="pt")["pixel_values"]

    run(paths[0])
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        run(paths[count % len(paths)])
        count += 1
    return count / (time.perf_counter() - began)


if sys.argv[1] == "make":
    make(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
else:
    print(f"{rate(pathlib.Path(sys.argv[2])):.1f}")
