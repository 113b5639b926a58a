"""Writes the image_* files of this folder and, beside each, the RGB that Pillow's convert("RGB") makes of it.

    apt install libjpeg-turbo-progs && pip install pillow==12.3.0 simplejpeg==1.9.0 numpy && python image_make.py
"""
import io, os, struct, subprocess, zlib
import numpy as np, simplejpeg
from PIL import Image

rng = np.random.default_rng(7)


def photo(w, h):
    """A slope in each channel with noise and one hard edge: what chroma upsampling gets wrong shows at once."""
    y, x = np.mgrid[:h, :w]
    a = np.stack([x * 255 // w, y * 255 // h, (x + y) * 255 // (w + h)], -1)
    a[(x > w // 2) & (y > h // 3)] = (230, 20, 60)
    return np.clip(a + rng.integers(-20, 20, a.shape), 0, 255).astype(np.uint8)


def put(name, data):
    open("image_" + name, "wb").write(data)
    rgb = np.array(Image.open(io.BytesIO(data)).convert("RGB"))  # through an array: convert may leave transparency in .info
    Image.fromarray(rgb).save("image_" + name + ".rgb.png", optimize=True)


def saved(im, format, **options):
    out = io.BytesIO()
    im.save(out, format, **options)
    return out.getvalue()


def png(w, h, depth, kind, rows, chunks=(), adam7=False):
    def chunk(tag, body):
        return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))
    head = struct.pack(">IIBBBBB", w, h, depth, kind, 0, 0, int(adam7))
    extra = b"".join(chunk(*c) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def rows(a):
    return b"".join(b"\0" + r.tobytes() for r in a)


W, H = 37, 29
P = photo(W, H)
im = Image.fromarray(P)

# JPEG: the layouts that Pillow does not write, and pictures so narrow that libjpeg does not interpolate.
for sub in "440", "411":
    put(f"{sub}.jpg", simplejpeg.encode_jpeg(P, 92, colorsubsampling=sub))
for w, h in (1, 1), (2, 9), (4, 4), (5, 4), (6, 1):
    small = Image.fromarray(photo(w, h))
    put(f"{w}x{h}-420.jpg", saved(small, "JPEG", subsampling=2, quality=92))
    put(f"{w}x{h}-422.jpg", saved(small, "JPEG", subsampling=1, quality=92))
    put(f"{w}x{h}.webp", saved(small, "WEBP", quality=92))
put("rgb.jpg", saved(im, "JPEG", keep_rgb=True, quality=92))

# PNG: every colour type that the recorded set lacks.
wide = rng.integers(0, 65536, (H, W, 4)).astype(">u2")
wide[:, :9] //= 256
alpha = np.dstack([P, rng.integers(0, 256, (H, W))]).astype(np.uint8)
palette = rng.integers(0, 256, (16, 3)).astype(np.uint8).tobytes()
four = rng.integers(0, 16, (H, 19)).astype(np.uint8) * 17
put("grey2.png", png(W, H, 2, 0, rows(rng.integers(0, 256, (H, 10)).astype(np.uint8))))
put("grey4.png", png(W, H, 4, 0, rows(four)))
put("grey8-trns.png", png(W, H, 8, 0, rows(P[:, :, 0]), [(b"tRNS", struct.pack(">H", int(P[3, 3, 0])))]))
put("grey16-trns.png", png(W, H, 16, 0, rows(wide[:, :, 0]), [(b"tRNS", struct.pack(">H", int(wide[3, 3, 0])))]))
put("rgb-trns.png", png(W, H, 8, 2, rows(P), [(b"tRNS", struct.pack(">HHH", *map(int, P[3, 3])))]))
put("rgb16.png", png(W, H, 16, 2, rows(wide[:, :, :3])))
put("la16.png", png(W, H, 16, 4, rows(wide[:, :, :2])))
put("rgba16.png", png(W, H, 16, 6, rows(wide)))
put("palette4.png", png(W, H, 4, 3, rows(four), [(b"PLTE", palette), (b"tRNS", bytes([0, 9, 255]))]))
passes = (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
put("adam7.png", png(W, H, 8, 6, b"".join(rows(alpha[y::dy, x::dx]) for x, y, dx, dy in passes), adam7=True))

# GIF: a first frame smaller than the screen; what surrounds it depends on transparency.
for name, options in ("offset", {}), ("offset-transparent", {"transparency": 3}):
    g = bytearray(saved(im.quantize(8), "GIF", **options))
    at = g.index(b"\x2c\0\0\0\0" + struct.pack("<HH", W, H))
    g[6:10] = struct.pack("<HH", W + 9, H + 8)
    g[at + 1:at + 5] = struct.pack("<HH", 5, 3)
    put(name + ".gif", bytes(g))

# WebP, BMP, TIFF.
clear = alpha.copy()
clear[5:15, 5:15, 3] = 0
put("odd.webp", saved(im, "WEBP", quality=80))
put("clear.webp", saved(Image.fromarray(clear), "WEBP", lossless=True, exact=True))
for mode in "1", "L", "P":
    put(f"{mode}.bmp".lower(), saved(im.convert(mode), "BMP"))
put("rgba.bmp", saved(Image.fromarray(alpha), "BMP"))
for c in "tiff_lzw", "tiff_adobe_deflate", "packbits":
    put(c.split("_")[-1] + ".tiff", saved(im, "TIFF", compression=c))
for mode in "1", "L", "P":
    put(f"{mode}.tiff".lower(), saved(im.convert(mode), "TIFF"))
put("grey16.tiff", saved(Image.fromarray(wide[:, :, 0].astype(np.uint16)), "TIFF"))
t = saved(Image.fromarray(alpha), "TIFF")
put("rgba.tiff", t)
extra = struct.pack("<HHIH", 338, 3, 1, 2)  # ExtraSamples: 2 is plain alpha, 1 is premultiplied
assert t.count(extra) == 1
put("premultiplied.tiff", t.replace(extra, struct.pack("<HHIH", 338, 3, 1, 1)))

put("animated.webp", saved(im, "WEBP", save_all=True, append_images=[im.rotate(90)]))

# What is refused, by name.
open("image_zstd.tiff", "wb").write(saved(im, "TIFF", compression="zstd"))

# JPEG: what else libjpeg reads, made by cjpeg or by changing bytes.
def cjpeg(*options, scans=""):
    open("scans.tmp", "w").write(scans)
    ppm = b"P6 %d %d 255\n" % (W, H) + P.tobytes()
    extra = ["-scans", "scans.tmp"] if scans else []
    return subprocess.run(["cjpeg", *options, *extra], input=ppm, stdout=subprocess.PIPE, check=True).stdout


def adobe(data, transform):
    at = data.index(b"Adobe")
    return data[:at + 11] + bytes([transform]) + data[at + 12:]


put("factors.jpg", cjpeg("-quality", "85", "-sample", "2x1,4x1,1x2"))
put("thirds.jpg", cjpeg("-quality", "85", "-sample", "3x2,3x1,1x1", "-progressive"))
put("scans.jpg", cjpeg("-quality", "85", "-restart", "2B", scans="1 2;0;"))
put("quantization16.jpg", cjpeg("-quality", "2"))
refining = "0 1 2: 0-0,0,1; 0: 1-5,0,3; 0: 1-5,3,2; 0: 6-63,0,1; 0: 1-5,2,1; 1: 1-63,0,1; 2: 1-63,0,0; 0 1 2: 0-0,1,0; 0: 1-63,1,0; 1: 1-63,1,0;"
put("refining.jpg", cjpeg("-quality", "95", "-restart", "3B", scans=refining))
by_id = saved(im, "JPEG", keep_rgb=True, quality=80)
at = by_id.index(b"\xff\xee")
put("rgb-by-id.jpg", by_id[:at] + by_id[at + 16:])  # without its Adobe segment
inks = saved(Image.fromarray(np.dstack([P, 255 - P[:, :, 1]]), "CMYK"), "JPEG", quality=90)
put("ycck.jpg", adobe(inks, 2))
photo420 = saved(im, "JPEG", quality=75, restart_marker_blocks=1)
at = photo420.index(b"\xff\xdb")
put("junk.jpg", photo420[:at] + b"\0junk\xff\xff" + photo420[at:-2] + b"junk" + photo420[-2:] + b"tail")
at = photo420.index(b"\xff\xd2")
put("lost-restart.jpg", photo420[:at] + photo420[at + 2:])
damaged = bytearray(saved(im, "JPEG", quality=95, subsampling=0))
at = damaged.index(b"\xff\xda") + 14
for i in range(at + 90, len(damaged) - 9, 150):
    damaged[i] ^= 0x55
put("damaged.jpg", bytes(damaged[:-40] + damaged[-2:]))
os.remove("scans.tmp")
