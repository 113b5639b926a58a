"""Prints what TestPrepareSigLIP and TestPrepareDINOv2 in processor_test.go compare with: the SHA-256 of float32 values that transformers'
SiglipImageProcessor and BitImageProcessor (on Pillow, not torchvision) make of drawn pictures; for "pad" after LLaVA's expand2square.

    pip install transformers==5.17.0 pillow==13.0.0 'numpy>=2' torch==2.11.0
    python processor_make.py
"""
import hashlib

import numpy
import PIL
import transformers
from PIL import Image
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

assert transformers.__version__ == "5.17.0" and PIL.__version__ == "13.0.0"


def synthetic(width, height):
    x, y = numpy.meshgrid(numpy.arange(width), numpy.arange(height))
    return Image.fromarray(numpy.stack([7 * x + 3 * y, x * x + 5 * y, x * y + 11], -1).astype(numpy.uint8))


def expand2square(image, colour):
    side = max(image.size)
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def show(processor, width, height, size, more, aspect):
    image = synthetic(width, height)
    if aspect == "pad":
        image = expand2square(image, tuple(int(mean * 255) for mean in processor.image_mean))
    values = processor(image, return_tensors="np")["pixel_values"][0]
    assert values.shape == (3, size, size) and values.dtype == numpy.float32
    print(f'{{{width}, {height}, {size}, {more}"{aspect}", "{hashlib.sha256(values.tobytes()).hexdigest()[:12]}"}},')


for width, height, size, resample in [(640, 480, 384, 3), (481, 640, 224, 3), (100, 37, 224, 3), (640, 480, 384, 2), (481, 640, 224, 2), (100, 37, 224, 2)]:
    for aspect in ["square", "pad"]:
        processor = SiglipImageProcessorPil(size={"height": size, "width": size}, resample=resample)
        show(processor, width, height, size, f"{resample}, ", aspect)

print()
for width, height, size in [(640, 480, 224), (481, 640, 224), (100, 37, 224), (640, 480, 336)]:
    for aspect in ["square", "pad"]:
        processor = BitImageProcessorPil(  # as in facebook/dinov2-base
            size={"shortest_edge": size * 256 // 224}, crop_size={"height": size, "width": size}, resample=3, do_center_crop=True,
            image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
        )
        show(processor, width, height, size, "", aspect)
