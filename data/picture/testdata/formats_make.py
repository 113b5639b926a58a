"""Writes formats.tar.gz: small files of the kinds that image_make.py lacks, and as its first member, pillow.txt, a line
for each with the size and the SHA-256 of the bytes that Pillow's convert("RGB") gives. Files below refused/ have none.

    pip install pillow==13.0.0 numpy==2.4.6 imagecodecs==2026.3.6 && python formats_make.py
"""
import gzip, hashlib, io, itertools, struct, tarfile, warnings, zlib
import imagecodecs, numpy as np
from PIL import Image, ImageOps

warnings.simplefilter("ignore")
rng = np.random.default_rng(11)
W, H = 21, 13
files = {}


def photo(w=W, h=H):
    """A slope in each channel, with noise and a hard edge."""
    y, x = np.mgrid[:h, :w]
    a = np.stack([x * 255 // w, y * 255 // h, (x + y) * 255 // (w + h)], -1)
    a[(x > w // 2) & (y > h // 3)] = (230, 20, 60)
    return np.clip(a + rng.integers(-20, 20, a.shape), 0, 255).astype(np.uint8)


def page(w=W, h=H):
    """Black and white with runs of many lengths."""
    a = np.repeat(rng.integers(0, 2, (h, w)), rng.integers(1, 9, w), 1)[:, :w].astype(bool)
    a[h // 2] = False
    a[h // 3] = a[h // 3 - 1]
    return a


P = photo()
G = P[:, :, 0]
ALPHA = np.dstack([P, rng.integers(0, 256, (H, W))]).astype(np.uint8)
INKS = np.dstack([P, 255 - P[:, :, 1]])
PAGE = page()


def put(name, data):
    assert name not in files
    files[name] = data


def refused(name, data):
    put("refused/" + name, data)


def saved(im, format, **options):
    out = io.BytesIO()
    im.save(out, format, **options)
    return out.getvalue()


# TIFF: a writer for any tags.

ENTRY = {"B": 1, "A": 2, "H": 3, "I": 4, "R": 5, "U": 7, "h": 8, "Q": 16}  # struct's letters, and three of our own


def tiff(tags, chunks, order="<", big=False):
    """tags: {number: (letter, values)}; chunks: strips, or tiles if there is tag 322."""
    at, counts = (324, 325) if 322 in tags else (273, 279)
    word = "Q" if big else "I"
    tags = dict(tags)
    tags.setdefault(256, ("H", [W]))
    tags.setdefault(257, ("H", [H]))
    tags[counts] = (word, [len(c) for c in chunks])
    tags[at] = (word, [0] * len(chunks))
    n = len(tags)
    mark = b"II" if order == "<" else b"MM"
    head = struct.pack(order + "2sHHHQ", mark, 43, 8, 0, 16) if big else struct.pack(order + "2sHI", mark, 42, 8)
    body = bytearray(head)
    size = 8 + 20 * n + 8 if big else 2 + 12 * n + 4
    behind = len(body) + size

    def packed(letter, values):
        if letter in "AU":
            return bytes(values)
        if letter == "R":
            return b"".join(struct.pack(order + "II", *v) for v in values)
        return struct.pack(order + letter * len(values), *values)

    long = sum(len(packed(*v)) + len(packed(*v)) % 2 for v in tags.values() if len(packed(*v)) > (8 if big else 4))
    offset = behind + long
    for i, c in enumerate(chunks):
        tags[at][1][i] = offset
        offset += len(c)
    body += struct.pack(order + ("Q" if big else "H"), n)
    extra = bytearray()
    for tag in sorted(tags):
        letter, values = tags[tag]
        raw = packed(letter, values)
        body += struct.pack(order + "HH" + word, tag, ENTRY[letter], len(values))
        if len(raw) > (8 if big else 4):
            body += struct.pack(order + word, behind + len(extra))
            extra += raw + b"\0" * (len(raw) % 2)
        else:
            body += raw.ljust(8 if big else 4, b"\0")
    return bytes(body + b"\0" * (8 if big else 4) + extra + b"".join(chunks))


def flipped(data):
    return bytes(int(f"{b:08b}"[::-1], 2) for b in data)


def kind(photometric, bits, samples=1, compression=1, extra=None, format=None, **more):
    tags = {258: ("H", [bits] * samples), 259: ("H", [compression]), 262: ("H", [photometric]), 277: ("H", [samples])}
    if extra is not None:
        tags[338] = ("H", extra)
    if format is not None:
        tags[339] = ("H", [format] * samples)
    tags.update({int(k[1:]): v for k, v in more.items()})
    return tags


def bits(a, n):
    """Rows of n-bit samples, each padded to whole bytes."""
    a = a.reshape(len(a), -1).astype(np.uint16)
    planes = ((a[:, :, None] >> np.arange(n - 1, -1, -1)) & 1).reshape(len(a), -1)
    return np.packbits(planes.astype(bool), 1).tobytes()


def fax(a, compression, options=None):
    """The strip that libtiff writes: set pixels are runs of black."""
    info = {292: options} if options else {}
    im = Image.fromarray(~a)  # Pillow inverts for PhotometricInterpretation 0
    data = saved(im, "TIFF", compression=compression, tiffinfo={262: 0, 278: len(a), **info})
    t = Image.open(io.BytesIO(data)).tag_v2
    return b"".join(data[o:o + n] for o, n in zip(t[273], t[279]))


T4 = {"rle": (2, "tiff_ccitt", 0), "group3": (3, "group3", 0), "group3-2d": (3, "group3", 1),
      "group3-fill": (3, "group3", 4), "group3-2d-fill": (3, "group3", 5), "group4": (4, "group4", 0)}
for name, (number, compression, options) in T4.items():
    for photometric, order, strips in itertools.product((0, 1), (1, 2), (13, 5)):
        data = [fax(PAGE[y:y + strips], compression, options) for y in range(0, H, strips)]
        tags = kind(photometric, 1, compression=number, _266=("H", [order]), _278=("H", [strips]))
        if number == 3:
            tags[292] = ("I", [options])
        put(f"fax-{name}-{photometric}-fill{order}-{strips}.tiff",
            tiff(tags, [flipped(c) if order == 2 else c for c in data]))
runs = np.zeros((70, 2700), bool)
for i in range(70):
    runs[i, i:i + (i * 64 if i % 2 else i)] = True
for name, (number, compression, options) in T4.items():
    tags = kind(0, 1, compression=number, _256=("H", [2700]), _257=("H", [70]))
    if number == 3:
        tags[292] = ("I", [options])
    put(f"fax-{name}-long.tiff", tiff(tags, [fax(runs, compression, options)]))
whole = fax(PAGE, "group3")
tags = kind(0, 1, compression=3)
for at in 10, 20, 40:
    put(f"fax-group3-damaged-{at}.tiff", tiff(tags, [whole[:at] + bytes([whole[at] ^ 0xff]) + whole[at + 1:]]))
whole, tags[292] = fax(PAGE, "group3", 1), ("I", [1])
for at in 10, 20, 41:
    put(f"fax-group3-2d-damaged-{at}.tiff", tiff(tags, [whole[:at] + bytes([whole[at] ^ 0xff]) + whole[at + 1:]]))
refused("fax-group4-cut.tiff", tiff(kind(0, 1, compression=4), [fax(PAGE, "group4")[:30]]))
tags = kind(0, 1, compression=4, _322=("H", [32]), _323=("H", [16]))
tile = np.zeros((16, 32), bool)
tile[:H, :W] = PAGE
put("fax-group4-tile.tiff", tiff(tags, [fax(tile, "group4")]))

# Grey and palettes of every depth, without compression and with.
deep = rng.integers(0, 65536, (H, W)).astype(np.uint16)
deep[:, :9] //= 256
COLOURS = rng.integers(0, 65536, 3 * 256)
PACK = {"raw": (1, bytes), "packbits": (32773, imagecodecs.packbits_encode), "lzw": (5, imagecodecs.lzw_encode),
        "deflate": (8, zlib.compress), "deflate-old": (32946, zlib.compress)}
for name, (number, pack) in PACK.items():
    for photometric, n in itertools.product((0, 1, 3), (1, 2, 4, 8)):
        more = {"_320": ("H", COLOURS.reshape(3, 256)[:, :1 << n].ravel().tolist())} if photometric == 3 else {}
        for order in (1, 2):
            data = bits(G >> (8 - n), n)
            data = pack(data) if order == 1 else flipped(pack(data))
            if order == 1 or name in ("raw", "deflate"):
                put(f"{name}-{photometric}-{n}-fill{order}.tiff",
                    tiff(kind(photometric, n, compression=number, _266=("H", [order]), **more), [data]))
for name, (number, pack) in PACK.items():
    if name in ("packbits", "deflate-old"):
        continue
    for order in "<>":
        end = {"<": "ii", ">": "mm"}[order]
        u16, i16 = deep.astype(order + "u2"), (deep.astype(int) - 300).astype(order + "i2")
        i32, f32 = (deep.astype(int) - 300).astype(order + "i4"), ((G.astype(float) - 20) * 1.3).astype(order + "f4")
        for photometric in (0, 1):
            for what, n, format, a in (("u16", 16, None, u16), ("i16", 16, 2, i16), ("u32", 32, None, i32),
                                       ("i32", 32, 2, i32), ("f32", 32, 3, f32)):
                put(f"{name}-{end}-{photometric}-{what}.tiff",
                    tiff(kind(photometric, n, compression=number, format=format), [pack(a.tobytes())], order))
        put(f"{name}-{end}-u12.tiff", tiff(kind(1, 12, compression=number), [pack(bits(deep & 4095, 12))], order))
        put(f"{name}-{end}-i8.tiff", tiff(kind(1, 8, compression=number, format=2), [pack(G.tobytes())], order))
        put(f"{name}-{end}-rgb16.tiff", tiff(kind(2, 16, 3, number), [
            pack(rng.integers(0, 65536, (H, W, 3)).astype(order + "u2").tobytes())], order))
        for extra in (None, [0], [1], [2]):
            tag = "none" if extra is None else extra[0]
            wide = rng.integers(0, 65536, (H, W, 4)).astype(order + "u2")
            wide[:3, :5, 3] = 0
            wide[3:5, :5, 3] |= 0xff00
            put(f"{name}-{end}-rgba16-{tag}.tiff", tiff(kind(2, 16, 4, number, extra), [pack(wide.tobytes())], order))
        put(f"{name}-{end}-cmyk16.tiff", tiff(kind(5, 16, 4, number), [pack(wide.tobytes())], order))

# More samples than colours.
both = np.dstack([G, ALPHA[:, :, 3]])
palette = {"_320": ("H", COLOURS.tolist())}
six = np.dstack([ALPHA, G, G])
six[:3, :5, 3] = 0
for name in "raw", "lzw":
    number, pack = PACK[name]
    for extra in (0, 1, 2):
        put(f"{name}-la-{extra}.tiff", tiff(kind(1, 8, 2, number, [extra]), [pack(both.tobytes())]))
        put(f"{name}-pa-{extra}.tiff", tiff(kind(3, 8, 2, number, [extra], **palette), [pack(both.tobytes())]))
        for n in (4, 5, 6):
            put(f"{name}-rgb-{n}-{extra}.tiff", tiff(kind(2, 8, n, number, [extra] + [0] * (n - 4)),
                                                   [pack(six[:, :, :n].tobytes())]))
    put(f"{name}-rgba-none.tiff", tiff(kind(2, 8, 4, number), [pack(ALPHA.tobytes())]))
    put(f"{name}-rgba-corel.tiff", tiff(kind(2, 8, 4, number, [999]), [pack(ALPHA.tobytes())]))
    put(f"{name}-rgb-fill2.tiff", tiff(kind(2, 8, 3, number, _266=("H", [2])), [flipped(pack(P.tobytes()))]))
    put(f"{name}-rgb-one-depth.tiff", tiff({**kind(2, 8, 3, number), 258: ("H", [8])}, [pack(P.tobytes())]))
    put(f"{name}-cmyk.tiff", tiff(kind(5, 8, 4, number), [pack(INKS.tobytes())]))
    for n in (5, 6):
        put(f"{name}-cmyk-{n}.tiff", tiff(kind(5, 8, n, number, [0] * (n - 4)), [
            pack(np.dstack([INKS, six[:, :, :n - 4]]).tobytes())]))

# Strips, tiles, planes, prediction, BigTIFF, orientation.
for name in "raw", "lzw", "deflate":
    number, pack = PACK[name]
    for big, order in itertools.product((False, True), "<>"):
        end = {"<": "ii", ">": "mm"}[order] + ("-big" if big else "")
        strips = [pack(P[y:y + 4].tobytes()) for y in range(0, H, 4)]
        put(f"{name}-{end}-strips.tiff", tiff(kind(2, 8, 3, number, _278=("H", [4])), strips, order, big))
        tiles = []
        for y, x in itertools.product((0,), (0, 16)):
            tile = np.zeros((16, 16, 3), np.uint8)
            part = P[y:y + 16, x:x + 16]
            tile[:part.shape[0], :part.shape[1]] = part
            tiles.append(tile)
        tags = kind(2, 8, 3, number, _322=("H", [16]), _323=("H", [16]))
        put(f"{name}-{end}-tiles.tiff", tiff(tags, [pack(t.tobytes()) for t in tiles], order, big))
    for n, a in ((3, P), (4, ALPHA), (4, INKS)):
        photometric = 5 if a is INKS else 2
        extra = [2] if a is ALPHA else None
        planes = [pack(a[y:y + 5, :, c].tobytes()) for c in range(n) for y in range(0, H, 5)]
        put(f"{name}-planes-{photometric}-{n}.tiff",
            tiff(kind(photometric, 8, n, number, extra, _284=("H", [2]), _278=("H", [5])), planes))
    tags = kind(2, 8, 3, number, _322=("H", [16]), _323=("H", [16]), _284=("H", [2]))
    put(f"{name}-planes-tiles.tiff", tiff(tags, [pack(t[:, :, c].tobytes()) for c in range(3) for t in tiles]))
    put(f"{name}-planes-unspecified.tiff", tiff(kind(2, 8, 5, number, [0, 0], _284=("H", [2])), [
        pack(six[:, :, c].tobytes()) for c in range(5)]))
    put(f"{name}-planes-premultiplied.tiff", tiff(kind(2, 8, 4, number, [1], _284=("H", [2])), [
        pack(six[:, :, c].tobytes()) for c in range(4)]))
    put(f"{name}-planes-la.tiff", tiff(kind(1, 8, 2, number, [2], _284=("H", [2])), [
        pack(both[:, :, c].tobytes()) for c in range(2)]))
    put(f"{name}-planes-grey.tiff", tiff(kind(0, 8, 1, number, _284=("H", [2])), [pack(G.tobytes())]))
    put(f"{name}-planes-page.tiff", tiff(kind(0, 1, 1, number, _284=("H", [2])), [pack(bits(PAGE, 1))]))
    wide = rng.integers(0, 65536, (H, W, 3)).astype("<u2")
    put(f"{name}-planes-rgb16.tiff", tiff(kind(2, 16, 3, number, _284=("H", [2])), [
        pack(wide[:, :, c].tobytes()) for c in range(3)]))
    for n in range(1, 9):
        put(f"{name}-orientation-{n}.tiff", tiff(kind(2, 8, 3, number, _274=("H", [n])), [pack(P.tobytes())]))


def differences(a):
    return np.diff(a, axis=1, prepend=np.zeros_like(a[:, :1]))


for name in "lzw", "deflate":
    number, pack = PACK[name]
    for order in "<>":
        end = {"<": "ii", ">": "mm"}[order]
        for what, photometric, n, a in (("g", 1, 1, G), ("rgb", 2, 3, P), ("rgba", 2, 4, ALPHA), ("cmyk", 5, 4, INKS),
                                        ("g16", 1, 1, deep), ("rgb16", 2, 3, wide.astype(np.uint16))):
            data = differences(a).astype(order + a.dtype.str[1:]).tobytes()
            put(f"{name}-{end}-predictor-{what}.tiff",
                tiff(kind(photometric, 8 * a.dtype.itemsize, n, number, _317=("H", [2])), [pack(data)], order))
        i32 = differences(deep.astype(np.int32)).astype(order + "i4")
        put(f"{name}-{end}-predictor-i32.tiff", tiff(kind(1, 32, 1, number, None, 2, _317=("H", [2])),
                                                  [pack(i32.tobytes())], order))
        f32 = (G.astype(float) * 1.3 - 20).astype(order + "f4")
        put(f"{name}-{end}-predictor-f32.tiff", tiff(kind(1, 32, 1, number, None, 3, _317=("H", [3])), [
            pack(imagecodecs.floatpred_encode(f32, axis=-1).tobytes())], order))
    planes = [pack(differences(P[:, :, c]).tobytes()) for c in range(3)]
    put(f"{name}-planes-predictor.tiff", tiff(kind(2, 8, 3, number, _284=("H", [2]), _317=("H", [2])), planes))

# YCbCr.
YCC = np.array(Image.fromarray(P).convert("YCbCr"))
put("raw-ycbcr.tiff", tiff(kind(6, 8, 3), [YCC.tobytes()]))
put("raw-ycbcr-1x1.tiff", tiff(kind(6, 8, 3, _530=("H", [1, 1])), [YCC.tobytes()]))
CUBE = np.stack(np.meshgrid(*[np.arange(17) * 255 // 16] * 3), -1).reshape(-1, 17 * 17, 3).astype(np.uint8)
size = {"_256": ("H", [289]), "_257": ("H", [17])}
put("raw-ycbcr-cube.tiff", tiff(kind(6, 8, 3, **size), [CUBE.tobytes()]))
put("deflate-ycbcr-cube.tiff", tiff(kind(6, 8, 3, 8, _530=("H", [1, 1]), **size), [zlib.compress(CUBE.tobytes())]))
reference = ("R", [(15, 1), (235, 1), (128, 1), (240, 1), (128, 1), (240, 1)])
put("deflate-ycbcr-studio.tiff", tiff(kind(6, 8, 3, 8, _530=("H", [1, 1]), _532=reference, **size),
                                      [zlib.compress(CUBE.tobytes())]))
factors = ("R", [(2126, 10000), (7152, 10000), (722, 10000)])
put("deflate-ycbcr-709.tiff", tiff(kind(6, 8, 3, 8, _530=("H", [1, 1]), _529=factors, **size),
                                   [zlib.compress(CUBE.tobytes())]))


def groups(a, across, down):
    h, w = a.shape[:2]
    a = np.pad(a, ((0, -h % down), (0, -w % across), (0, 0)), "edge")
    out = bytearray()
    for y in range(0, len(a), down):
        for x in range(0, a.shape[1], across):
            out += a[y:y + down, x:x + across, 0].tobytes() + a[y, x, 1:].tobytes()
    return bytes(out)


for across, down in ((1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4), (1, 4), (3, 1)):
    tags = kind(6, 8, 3, 5, _530=("H", [across, down]))
    put(f"lzw-ycbcr-{across}x{down}.tiff", tiff(tags, [imagecodecs.lzw_encode(groups(YCC, across, down))]))
    strips = [imagecodecs.lzw_encode(groups(YCC[y:y + 4], across, down)) for y in range(0, H, 4)]
    put(f"lzw-ycbcr-{across}x{down}-strips.tiff", tiff({**tags, 278: ("H", [4])}, strips))
    tile = np.zeros((16, 32, 3), np.uint8)
    tile[:H, :W] = YCC
    put(f"lzw-ycbcr-{across}x{down}-tile.tiff", tiff({**tags, 322: ("H", [32]), 323: ("H", [16])},
                                                   [imagecodecs.lzw_encode(groups(tile, across, down))]))
put("lzw-ycbcr-default.tiff", tiff(kind(6, 8, 3, 5), [imagecodecs.lzw_encode(groups(YCC, 2, 2))]))
refused("raw-ycbcr-2x2.tiff", tiff(kind(6, 8, 3, _530=("H", [2, 2])), [groups(YCC, 2, 2)]))

# JPEG in TIFF: written by libtiff with shared tables, and whole streams.
for sub in "4:4:4", "4:2:2", "4:2:0":
    for rows in (16, 8):
        data = saved(Image.fromarray(photo(37, 29)).convert("YCbCr"), "TIFF", compression="jpeg", quality=90,
                     tiffinfo={278: rows})
        if sub == "4:4:4":
            put(f"jpeg-ycbcr-{rows}.tiff", data)
for mode in "L", "RGB", "CMYK":
    put(f"jpeg-{mode}.tiff".lower(), saved(Image.fromarray(photo(37, 29)).convert(mode), "TIFF", compression="jpeg"))
for sub in 0, 1, 2:
    stream = saved(Image.fromarray(P), "JPEG", quality=90, subsampling=sub)
    tags = kind(6, 8, 3, 7, _530=("H", [[1, 1], [2, 1], [2, 2]][sub]))
    put(f"jpeg-whole-{sub}.tiff", tiff(tags, [stream]))
    tiles = []
    for y, x in itertools.product((0, 16), (0, 16, 32)):
        tile = np.zeros((16, 16, 3), np.uint8)
        part = photo(40, 30)[y:y + 16, x:x + 16]
        tile[:part.shape[0], :part.shape[1]] = part
        tiles.append(saved(Image.fromarray(tile), "JPEG", quality=90, subsampling=sub))
    put(f"jpeg-tiles-{sub}.tiff", tiff({**tags, 256: ("H", [40]), 257: ("H", [30]), 322: ("H", [16]),
                                        323: ("H", [16])}, tiles))
put("jpeg-whole-rgb.tiff", tiff(kind(2, 8, 3, 7), [saved(Image.fromarray(P), "JPEG", keep_rgb=True)]))
put("jpeg-progressive.tiff", tiff(kind(6, 8, 3, 7), [saved(Image.fromarray(P), "JPEG", progressive=True)]))
put("jpeg-white.tiff", tiff(kind(0, 8, 1, 7), [saved(Image.fromarray(G), "JPEG")]))
put("jpeg-rgba.tiff", tiff(kind(2, 8, 4, 7, [2]), [saved(Image.fromarray(ALPHA, "CMYK"), "JPEG")]))

# TIFF that is refused, by name.
for compression in "zstd", "lzma":
    refused(f"{compression}.tiff", saved(Image.fromarray(P), "TIFF", compression=compression))
refused("lab.tiff", tiff(kind(8, 8, 3), [P.tobytes()]))
refused("lzw-cut.tiff", tiff(kind(2, 8, 3, 5), [imagecodecs.lzw_encode(P.tobytes())[:300]]))
refused("few-strips.tiff", tiff(kind(2, 8, 3, _278=("H", [4])), [P[:4].tobytes(), P[4:8].tobytes()]))
refused("deflate-checksum.tiff", tiff(kind(2, 8, 3, 8), [zlib.compress(P.tobytes())[:-1] + b"?"]))
tile = np.zeros((16, 32, 3), np.uint8)
tile[:H, :W] = P
refused("deflate-below.tiff", tiff(kind(2, 8, 3, 8, _322=("H", [32]), _323=("H", [16])), [
    zlib.compress(tile.tobytes(), 0)[:-50]]))
refused("old-jpeg.tiff", tiff(kind(6, 8, 3, 6), [saved(Image.fromarray(P), "JPEG")]))
refused("float-rgb.tiff", tiff(kind(2, 32, 3, 1, None, 3), [P.astype("<f4").tobytes()]))


# BMP: headers, depths, bit fields, run lengths.


def bmp(bits, pixels, header=40, palette=b"", compression=0, masks=(), colours=0, size=(W, H), offset=None):
    if header == 12:
        info = struct.pack("<IHHHH", 12, *size, 1, bits)
    else:
        info = struct.pack("<IiiHHIIIIII", header, *size, 1, bits, compression, len(pixels), 0, 0, colours, 0)
        fields = struct.pack("<" + "I" * len(masks), *masks)
        info = (info + fields).ljust(header, b"\0") if header > 40 else info + fields
    at = 14 + len(info) + len(palette)
    head = struct.pack("<2sIHHI", b"BM", at + len(pixels), 0, 0, at if offset is None else offset)
    return head + info + palette + pixels


def padded(rows):
    return b"".join(r + b"\0" * (-len(r) % 4) for r in map(bytes, rows))


def indexed(n):
    a = (G >> (8 - n))[::-1]
    return padded([bits(row[None], n) for row in a])


for n in (1, 4, 8):
    colours = rng.integers(0, 256, (1 << n, 4)).astype(np.uint8)
    for header in (40, 52, 56, 64, 108, 124):
        put(f"{n}-{header}.bmp", bmp(n, indexed(n), header, colours.tobytes()))
    put(f"{n}-12.bmp", bmp(n, indexed(n), 12, colours[:, :3].tobytes()))
    put(f"{n}-few.bmp", bmp(n, indexed(n), 40, colours[:(1 << n) - 1].tobytes(), colours=(1 << n) - 1))
    put(f"{n}-top.bmp", bmp(n, indexed(n), 40, colours.tobytes(), size=(W, -H)))
    put(f"{n}-offset.bmp", bmp(n, indexed(n), 40, colours.tobytes(), offset=54))
    put(f"{n}-no-offset.bmp", bmp(n, indexed(n), 40, colours.tobytes(), offset=0))
    levels = np.repeat(np.arange(1 << n) * 255 // ((1 << n) - 1), 4).astype(np.uint8).tobytes()
    put(f"{n}-grey.bmp", bmp(n, indexed(n), 40, levels))
put("1-white.bmp", bmp(1, indexed(1), 40, bytes([255, 255, 255, 0, 0, 0, 0, 0])))
refused("8-two.bmp", bmp(8, padded([r.tobytes() for r in PAGE.astype(np.uint8)]), 40,
                         bytes([0, 0, 0, 0, 255, 255, 255, 0]), colours=2))
words = rng.integers(0, 65536, (H, W)).astype("<u2")
longs = rng.integers(0, 256, (H, W, 4)).astype(np.uint8)
for header in (12, 40, 124):
    put(f"16-{header}.bmp", bmp(16, padded([r.tobytes() for r in words]), header))
    put(f"24-{header}.bmp", bmp(24, padded([r.tobytes() for r in P]), header))
    put(f"32-{header}.bmp", bmp(32, longs.tobytes(), header))
for header in (40, 52, 56, 108, 124):
    for name, masks in (("565", (0xf800, 0x7e0, 0x1f, 0)), ("555", (0x7c00, 0x3e0, 0x1f, 0))):
        put(f"{name}-{header}.bmp",
            bmp(16, padded([r.tobytes() for r in words]), header, b"", 3, masks[:3 + (header > 52)]))
    for i, masks in enumerate(((0xff0000, 0xff00, 0xff, 0), (0xff000000, 0xff0000, 0xff00, 0),
                               (0xff000000, 0xff00, 0xff, 0), (0xff000000, 0xff0000, 0xff00, 0xff),
                               (0xff, 0xff00, 0xff0000, 0xff000000), (0xff0000, 0xff00, 0xff, 0xff000000),
                               (0xff000000, 0xff00, 0xff, 0xff0000), (0, 0, 0, 0))):
        put(f"32-fields-{i}-{header}.bmp", bmp(32, longs.tobytes(), header, b"", 3, masks[:3 + (header > 52)]))
    put(f"24-fields-{header}.bmp", bmp(24, padded([r.tobytes() for r in P]), header, b"", 3, (0xff0000, 0xff00, 0xff)))
refused("4444.bmp", bmp(16, padded([r.tobytes() for r in words]), 56, b"", 3, (0xf00, 0xf0, 0xf, 0xf000)))
refused("jpeg.bmp", bmp(24, saved(Image.fromarray(P), "JPEG"), 40, b"", 4))


def runs_of(a, four, literals):
    """Each row as literals (of up to 9) and runs in turn."""
    out = bytearray()
    for row in a[::-1]:
        x = 0
        while x < len(row):
            n = min(9, len(row) - x)
            part = row[x:x + n]
            if literals and n > 2:
                raw = bits(part[None], 4) if four else part.tobytes()
                out += bytes([0, n]) + raw + b"\0" * (len(raw) % 2)
            else:
                n = 1 + next((i for i in range(1, n) if part[i] != part[0]), n) - 1
                out += bytes([n, part[0] * 17 if four else part[0]])
            x += n
            literals = literals if literals is True else not literals
        out += b"\0\0"
    return bytes(out + b"\0\1")


colours = rng.integers(0, 256, (256, 4)).astype(np.uint8).tobytes()
quiet = np.repeat(np.repeat(rng.integers(0, 16, (5, 6)), 4, 1), 3, 0)[:H, :W].astype(np.uint8)
for four in (False, True):
    name, kind_, table = ("rle4", 2, colours[:64]) if four else ("rle8", 1, colours)
    n = 4 if four else 8
    for literals in (False, True, 0):
        put(f"{name}-{literals}.bmp", bmp(n, runs_of(quiet, four, literals), 40, table, kind_))
    put(f"{name}-top.bmp", bmp(n, runs_of(quiet, four, 0), 40, table, kind_, size=(W, -H)))
    levels = np.repeat(np.arange(1 << n), 4).astype(np.uint8).tobytes()
    put(f"{name}-grey.bmp", bmp(n, runs_of(quiet, four, 0), 40, levels, kind_))
    jump = bytes([5, 0x12, 0, 2, 3, 2, 7, 0x34, 0, 0, 255, 0x21, 0, 0, 0, 2, 0, 6, 0, 0] + [4, 5, 0, 0] * 20)
    put(f"{name}-jumps.bmp", bmp(n, jump, 40, table, kind_))
    refused(f"{name}-short.bmp", bmp(n, bytes([5, 0x12, 0, 1]), 40, table, kind_))
refused("12-bits.jpg", saved(Image.fromarray(G), "JPEG").replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc0\0\x0b\x0c"))
refused("arithmetic.jpg", saved(Image.fromarray(G), "JPEG").replace(b"\xff\xc0", b"\xff\xc9"))


# Orientation: in EXIF and XMP, in every place where Pillow looks. For these pillow.txt has a second line, of what
# ImageOps.exif_transpose makes of the file.


def exif(n, order="<", letter="H"):
    mark = b"II" if order == "<" else b"MM"
    value = struct.pack(order + letter, n).ljust(4, b"\0")
    entries = struct.pack(order + "HHII", 0x10f, 2, 4, 0x666f6f) + struct.pack(order + "HHI", 274, ENTRY[letter], 1)
    return struct.pack(order + "2sHIH", mark, 42, 8, 2) + entries + value + b"\0" * 4


def xmp(n, element=False):
    what = f"<tiff:Orientation>{n}</tiff:Orientation>" if element else f'<a tiff:Orientation="{n}"/>'
    return f"<x:xmpmeta>{what}</x:xmpmeta>".encode()


def chunk(tag, body):
    return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))


def png_with(*chunks, behind=()):
    data = saved(im, "PNG")
    at = data.index(b"IDAT") - 4
    before, after = (b"".join(chunk(*c) for c in part) for part in (chunks, behind))
    return data[:at] + before + data[at:-12] + after + data[-12:]


def jpeg_with(*segments):
    data = saved(im, "JPEG", quality=90)
    return data[:2] + b"".join(b"\xff\xe1" + struct.pack(">H", len(s) + 2) + s for s in segments) + data[2:]


im = Image.fromarray(P)
XAP = b"http://ns.adobe.com/xap/1.0/\0"
EXIF = b"Exif\0\0"
for n in range(10):
    put(f"turned/{n}.jpg", jpeg_with(EXIF + exif(n, "<>"[n % 2])))
for n in (3, 6):
    put(f"turned/{n}.png", png_with((b"eXIf", exif(n))))
    put(f"turned/{n}-behind.png", png_with(behind=[(b"eXIf", exif(n, ">"))]))
    put(f"turned/{n}.webp", saved(im, "WEBP", quality=80, exif=exif(n)))
    put(f"turned/{n}-xmp.webp", saved(im, "WEBP", lossless=True, xmp=xmp(n)))
    put(f"turned/{n}-xmp.jpg", jpeg_with(XAP + xmp(n)))
    put(f"turned/{n}-xmp-element.jpg", jpeg_with(XAP + xmp(n, True)))
    put(f"turned/{n}-both.jpg", jpeg_with(EXIF + exif(n), XAP + xmp(8)))
    put(f"turned/{n}-zero.jpg", jpeg_with(EXIF + exif(0), XAP + xmp(n)))
    put(f"turned/{n}-long.jpg", jpeg_with(EXIF + exif(n, letter="I")))
    put(f"turned/{n}-byte.jpg", jpeg_with(EXIF + exif(n, letter="B")))
    put(f"turned/{n}-parts.jpg", jpeg_with(EXIF + exif(n)[:20], EXIF + exif(n)[20:]))
    put(f"turned/{n}-xmp.png", png_with((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(n))))
    packed = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(n))
    put(f"turned/{n}-xmp-packed.png", png_with((b"iTXt", packed)))
    profile = f"\nexif\n{len(EXIF + exif(n)):8}\n{(EXIF + exif(n)).hex()}\n".encode()
    put(f"turned/{n}-profile.png", png_with((b"tEXt", b"Raw profile type exif\0" + profile)))
    packed = b"Raw profile type exif\0\0" + zlib.compress(profile)
    put(f"turned/{n}-profile-packed.png", png_with((b"zTXt", packed)))
    put(f"turned/{n}-xmp.tiff", tiff(kind(2, 8, 3, _700=("B", list(xmp(n)))), [P.tobytes()]))
    put(f"turned/{n}-long.tiff", tiff(kind(2, 8, 3, _274=("I", [n])), [P.tobytes()]))
    put(f"turned/{n}-byte.tiff", tiff(kind(2, 8, 3, _274=("B", [n])), [P.tobytes()]))


# WebP: frames on a canvas, and alpha that is announced and missing.


def riff(name, body):
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def webp(flags, canvas, *chunks):
    size = b"".join(struct.pack("<I", n - 1)[:3] for n in canvas)
    body = b"WEBP" + riff(b"VP8X", bytes([flags, 0, 0, 0]) + size) + b"".join(chunks)
    return riff(b"RIFF", body)


def frame(image, x=0, y=0, flags=0, alpha=b""):
    w, h = image.size
    numbers = b"".join(struct.pack("<I", n)[:3] for n in (x // 2, y // 2, w - 1, h - 1, 100))
    return numbers + bytes([flags]) + alpha


ANIM = riff(b"ANIM", bytes([10, 200, 30, 255, 0, 0]))
for name, options, image in (("lossy", {"quality": 80}, im), ("lossless", {"lossless": True}, im),
                             ("clear", {"lossless": True, "exact": True}, Image.fromarray(ALPHA)),
                             ("lossy-alpha", {"quality": 80}, Image.fromarray(ALPHA))):
    still = saved(image, "WEBP", **options)
    if still[12:16] == b"VP8X":
        at = still.index(b"ALPH") if b"ALPH" in still else still.index(b"VP8L")
        still_chunks = still[at:]
    else:
        still_chunks = still[12:]
    for flags in range(4):
        for x, y, canvas in ((0, 0, (W, H)), (4, 6, (W + 11, H + 8))):
            put(f"animated-{name}-{flags}-{x}.webp", webp(0x12, canvas, ANIM, riff(
                b"ANMF", frame(image, x, y, flags) + still_chunks), riff(b"ANMF", frame(image, x, y) + still_chunks)))
    put(f"extended-{name}.webp", webp(0x10, (W, H), still_chunks))
    put(f"extended-{name}-no-flag.webp", webp(0, (W, H), still_chunks))
    put(f"extended-{name}-unknown.webp", webp(0x10, (W, H), riff(b"abcd", b"123"), still_chunks, riff(b"efgh", b"")))
refused("canvas.webp", webp(0, (W + 1, H), saved(im, "WEBP")[12:]))
refused("outside.webp", webp(2, (W, H), ANIM, riff(b"ANMF", frame(im, 2) + saved(im, "WEBP")[12:])))
refused("no-frame.webp", webp(2, (W, H), ANIM))


# PNG: every colour type and depth, interlaced and not, with transparency and without; the still image of an animation.

PASSES = (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)


def png(n, kind_, a, interlaced=False, chunks=()):
    """a: samples [H, W, samples], of n bits."""
    head = struct.pack(">IIBBBBB", a.shape[1], a.shape[0], n, kind_, 0, 0, int(interlaced))
    parts = [a[y::dy, x::dx] for x, y, dx, dy in PASSES] if interlaced else [a]
    raw = b"".join(b"\0" + bits(row[None], n) for part in parts if part.size for row in part)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunk(*c) for c in chunks) +
            chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


for kind_, samples, depths in ((0, 1, (1, 2, 4, 8, 16)), (2, 3, (8, 16)), (3, 1, (1, 2, 4, 8)), (4, 2, (8, 16)),
                               (6, 4, (8, 16))):
    for n in depths:
        a = rng.integers(0, 1 << n, (H, W, samples))
        a[:, :5] = a[:, :5] & 255
        for interlaced in (False, True):
            tables = [(b"PLTE", rng.integers(0, 256, 3 << n).astype(np.uint8).tobytes())] if kind_ == 3 else []
            name = f"{kind_}-{n}{'-interlaced' if interlaced else ''}"
            put(f"{name}.png", png(n, kind_, a, interlaced, tables))
            clear = {0: b"".join, 2: b"".join, 3: lambda _: bytes([0, 255, 9][:1 << n])}.get(kind_)
            if clear:
                body = clear([struct.pack(">H", v) for v in a[1, 1].tolist()])
                put(f"{name}-clear.png", png(n, kind_, a, interlaced, [*tables, (b"tRNS", body)]))
put("few-colours.png", png(8, 3, rng.integers(0, 9, (H, W, 1)), False, [(b"PLTE", bytes(range(27)))]))
for i, default in enumerate((True, False)):
    put(f"animated-{i}.png", saved(im, "PNG", save_all=True, default_image=default,
                                   append_images=[im.rotate(90), im.rotate(180)]))

still = saved(im, "PNG")
at = still.index(b"IDAT")
put("wrong-checksum.png", still[:-13] + b"?" + still[-12:])
put("cut-behind.png", still[:-12])
put("cut-checksum.png", still[:-14])
put("wrong-chunk-behind.png", still[:-12] + b"\0\0\0\1tIMEabcde" + still[-12:])
put("several.png", png(8, 2, P, chunks=[(b"gAMA", b"\0\0\xb1\x8f")]))
refused("cut.png", still[:-60])
refused("data.png", still[:at + 90] + bytes([still[at + 90] ^ 8]) + still[at + 91:])

# JPEG and MPO.
put("two.mpo", saved(im, "MPO", save_all=True, append_images=[im.rotate(90)]))
for mode in "L", "CMYK":
    put(f"{mode}.jpg".lower(), saved(Image.fromarray(INKS, "CMYK") if mode == "CMYK" else im.convert(mode), "JPEG"))
    put(f"{mode}-progressive.jpg".lower(), saved(im.convert(mode), "JPEG", progressive=True))

# GIF: palettes, offsets, transparency, interlacing.


def gif(image, screen=(W, H), at=(0, 0), world=None, local=None, clear=None, interlaced=False, disposal=0, background=0):
    """The pixels of a palette image; world and local are palettes of 2^n colours."""
    data = saved(image, "GIF", interlace=int(interlaced))
    i = data.rindex(b"\x2c" + struct.pack("<HHHH", 0, 0, *image.size))
    own = data[i + 9] & 0x80
    pixels = data[i + 10 + ((3 << (data[i + 9] & 7) + 1) if own else 0):]
    size = lambda p: (len(p) // 3).bit_length() - 2
    out = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80 | size(world) if world else 0, background, 0)
    out += world or b""
    if clear is not None or disposal:
        out += b"!\xf9\x04" + bytes([disposal << 2 | (clear is not None), 0, 0, clear or 0]) + b"\0"
    out += b"!\xfe\x03abc\0"
    flags = (0x80 | size(local) if local else 0) | (0x40 if interlaced else 0)
    return out + b"," + struct.pack("<HHHHB", *at, *image.size, flags) + (local or b"") + pixels


indices = Image.fromarray(rng.integers(0, 8, (H, W)).astype(np.uint8), "P")
indices.putpalette(bytes(range(24)))
one, two = (rng.integers(0, 256, 24).astype(np.uint8).tobytes() for _ in range(2))
for palettes in ("world", "local", "both", "none"):
    for clear, disposal, interlaced in itertools.product((None, 3), (0, 2, 3), (False, True)):
        for screen, at in (((W, H), (0, 0)), ((W + 9, H + 7), (5, 3)), ((W - 3, H - 2), (0, 0)), ((W, H), (4, 2))):
            put(f"{palettes}-{clear}-{disposal}-{interlaced}-{screen[0]}-{at[0]}.gif", gif(
                indices, screen, at, one if palettes in ("world", "both") else None,
                two if palettes in ("local", "both") else None, clear, interlaced, disposal, 2))
grey = np.repeat(np.arange(8), 3).astype(np.uint8).tobytes()
put("identity-local.gif", gif(indices, world=one, local=grey))
put("identity-world.gif", gif(indices, world=grey, local=one))
put("identity.gif", gif(indices, world=np.repeat(np.arange(8), 3).astype(np.uint8).tobytes()))
put("short-palette.gif", gif(indices, (W + 2, H), world=one[:12]))
put("short-identity.gif", gif(indices, world=np.repeat(np.arange(4), 3).astype(np.uint8).tobytes()))
put("tail.gif", gif(indices, world=one) + b"tail")
whole = gif(indices, world=one)
put("no-trailer.gif", whole[:-1])
refused("cut.gif", whole[:-30])
refused("small-frame.gif", gif(indices.crop((0, 0, W, 5)), world=one).replace(
    b"," + struct.pack("<HHHH", 0, 0, W, 5), b"," + struct.pack("<HHHH", 0, 0, W, H)))
refused("no-frame.gif", whole[:13 + 24] + b";")
put("sub-block.gif", whole[:-2] + b"\x03abc\0;")


def rgb(data, turned=False):
    try:
        im = Image.open(io.BytesIO(data))
        im = (ImageOps.exif_transpose(im) if turned else im).convert("RGB")
    except Exception:
        return None
    return im.size, np.array(im).tobytes()


def main():
    index, members = [], []
    for name, data in files.items():
        result = None if name.startswith("refused/") else rgb(data)
        if result:
            (w, h), pix = result
            index.append(f"{name} {w}x{h} {hashlib.sha256(pix).hexdigest()}\n")
        if result and name.startswith("turned/"):
            (w, h), pix = rgb(data, True)
            index.append(f"{name} {w}x{h} {hashlib.sha256(pix).hexdigest()} turned\n")
        if result or name.startswith("refused/"):  # Pillow has no decoder for the others
            members.append((name, data))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in [("pillow.txt", "".join(index).encode()), *members]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    open("formats.tar.gz", "wb").write(gzip.compress(out.getvalue(), 9, mtime=0))


if __name__ == "__main__":
    main()
