package picture

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"strings"

	"golang.org/x/image/webp"

	"github.com/llavatrain/llavatrain/data/picture/bmp"
	"github.com/llavatrain/llavatrain/data/picture/gif"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// imageFormat is one row of the table of supported formats. The format is detected from a file's first bytes, never
// from its name.
type imageFormat struct {
	name     string
	magic    string // '?' stands for any byte
	header   func([]byte) (image.Config, error)
	decode   func([]byte) (*RGB, error)
	metadata func(f io.ReaderAt, size int64) metadata
}

var imageFormats = []imageFormat{
	{"JPEG", "\xff\xd8\xff", jpegHeader, jpegDecode, jpegMetadata},
	{"PNG", "\x89PNG\r\n\x1a\n", streamed(png.DecodeConfig), decodePNG, pngMetadata},
	{"GIF", "GIF8?a", gifHeader, gifDecode, noMetadata},
	{"WebP", "RIFF????WEBP", streamed(webp.DecodeConfig), webpDecode, webpMetadata},
	{"BMP", "BM????????????", bmpHeader, bmpDecode, noMetadata},
	{"TIFF", "II*\x00", tiffHeader, tiffDecode, tiffMetadata},
	{"TIFF", "MM\x00*", tiffHeader, tiffDecode, tiffMetadata},
	{"TIFF", "II+\x00", tiffHeader, tiffDecode, tiffMetadata}, // BigTIFF
	{"TIFF", "MM\x00+", tiffHeader, tiffDecode, tiffMetadata},
}

func noMetadata(io.ReaderAt, int64) metadata { return metadata{} }

// streamed adapts a decoder of a stream to a file's bytes.
func streamed[T any](decode func(io.Reader) (T, error)) func([]byte) (T, error) {
	return func(file []byte) (T, error) { return decode(bytes.NewReader(file)) }
}

func bmpHeader(file []byte) (image.Config, error) {
	m, err := bmp.Parse(file)
	if err != nil {
		return image.Config{}, err
	}
	return image.Config{Width: m.Width, Height: m.Height}, nil
}

func bmpDecode(file []byte) (*RGB, error) {
	m, err := bmp.Parse(file)
	if err != nil {
		return nil, err
	}
	pix, err := m.RGB()
	if err != nil {
		return nil, err
	}
	return &RGB{m.Width, m.Height, pix}, nil
}

func gifHeader(file []byte) (image.Config, error) {
	m, err := gif.Parse(file)
	if err != nil {
		return image.Config{}, err
	}
	return image.Config{Width: m.Width, Height: m.Height}, nil
}

func gifDecode(file []byte) (*RGB, error) {
	m, err := gif.Parse(file)
	if err != nil {
		return nil, err
	}
	pix, err := m.RGB()
	if err != nil {
		return nil, err
	}
	return &RGB{m.Width, m.Height, pix}, nil
}

// notImages are other files that data sets contain in place of images, in lower case.
var notImages = []struct{ magic, what string }{
	{"<!doctype html", "an HTML page"},
	{"<html", "an HTML page"},
	{"<?xml", "an XML or SVG file"},
	{"<svg", "an SVG file"},
	{"%pdf", "a PDF file"},
	{"version https://git-lfs", "a Git LFS pointer (fetch the files with: git lfs pull)"},
	{"????ftypavi", "an AVIF image (convert it to JPEG or PNG)"},
	{"????ftyphe", "an HEIC image (convert it to JPEG or PNG)"},
	{"????ftyp", "a video"},
	{"pk\x03\x04", "a ZIP archive"},
	{"{", "JSON text"},
}

// Decode turns the bytes of a JPEG, PNG, GIF, WebP, BMP or TIFF file into exactly the RGB that
// Pillow decodes from it. Size limits are checked on the header, before pixels are allocated. Every error wraps ErrRow
// and names the detected format.
func Decode(file []byte) (*RGB, error) { return usual.decode(file) }

// reading says how files are read.
type reading struct {
	pixels int  // the most an image may have
	turn   bool // images are turned as their EXIF orientation says
}

var usual = reading{pixels: MaxPixels}

func (r reading) decode(file []byte) (*RGB, error) {
	format, header, err := r.size(file)
	if err != nil {
		return nil, err
	}
	rgb, err := Shield(format.decode, file)
	if err != nil {
		return nil, format.failed(err)
	}
	if r.turns(format) {
		header = r.oriented(format, header, bytes.NewReader(file), int64(len(file)))
		rgb = turned(rgb, header.Orientation)
	}
	return rgb, nil
}

// turns reports whether images of a format are turned here: Pillow itself turns TIFF files.
func (r reading) turns(format imageFormat) bool { return r.turn && format.name != "TIFF" }

func detectFormat(file []byte) (imageFormat, error) {
	for _, format := range imageFormats {
		if beginsWith(file, format.magic) {
			return format, nil
		}
	}
	return imageFormat{}, BadRow("%s; supported formats are JPEG, PNG, GIF, WebP, BMP and TIFF", describe(file))
}

func describe(file []byte) string {
	if len(file) == 0 {
		return "file is empty"
	}
	start := file[:min(len(file), 64)]
	text := bytes.ToLower(bytes.TrimSpace(bytes.TrimPrefix(start, []byte("\ufeff"))))
	for _, other := range notImages {
		if beginsWith(text, other.magic) {
			return "file is " + other.what + ", not an image"
		}
	}
	if len(bytes.Trim(file, "\x00")) == 0 {
		return "file contains only zero bytes"
	}
	return fmt.Sprintf("file begins with %q, which is not a known image format", start[:min(len(start), 12)])
}

func beginsWith(file []byte, magic string) bool {
	if len(file) < len(magic) {
		return false
	}
	for i := range len(magic) {
		if magic[i] != '?' && magic[i] != file[i] {
			return false
		}
	}
	return true
}

func (f imageFormat) checkSize(w, h, pixels int) error {
	switch {
	case w <= 0 || h <= 0:
		return BadRow("%s of %dx%d has no pixels", f.name, w, h)
	case w > maxSide || h > maxSide:
		return BadRow("%s of %dx%d is over the limit of %d pixels per side", f.name, w, h, maxSide)
	case w > pixels/h:
		limit := fmt.Sprint(pixels)
		if pixels%1_000_000 == 0 {
			limit = fmt.Sprintf("%d million", pixels/1_000_000)
		}
		return BadRow("%s of %dx%d is over the limit of %s pixels (max_pixels of a recipe's stage, "+
			"image_max_pixels in the config.json of a model's folder)", f.name, w, h, limit)
	}
	return nil
}

func (f imageFormat) failed(err error) error {
	text := strings.TrimPrefix(err.Error(), strings.ToLower(f.name)+": ")
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		text = "file is truncated"
	}
	return BadRow("%s cannot be decoded: %s", f.name, text)
}

// Shield runs a decoder on untrusted bytes: if a damaged file makes it panic, that file is refused and the run
// continues. A page of a mapped file that cannot be read is an error of the disk.
func Shield[T any](decode func([]byte) (T, error), file []byte) (result T, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			if err = failure.OfPage(fault); err == nil {
				err = fmt.Errorf("its decoder failed: %v", fault)
			}
		}
	}()
	return decode(file)
}
