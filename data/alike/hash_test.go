package alike

import (
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"image/jpeg"
	"math/bits"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/image/draw"
	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/data/picture"
)

// photos are the decoded pictures of a folder of photos.
func photos(t *testing.T) (list []*picture.RGB) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(datatest.Shared(t, "coco-mini", "images"), "*.jpg"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d photos: %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, decoded(t, text))
	}
	return list
}

func decoded(t *testing.T, file []byte) *picture.RGB {
	t.Helper()
	img, err := picture.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// drawable is a picture in the standard library's form, rgb the way back.
func drawable(p *picture.RGB) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, p.W, p.H))
	for i := range p.W * p.H {
		img.SetRGBA(i%p.W, i/p.W, color.RGBA{p.Pix[3*i], p.Pix[3*i+1], p.Pix[3*i+2], 255})
	}
	return img
}

func rgb(img image.Image) *picture.RGB {
	size := img.Bounds()
	p := &picture.RGB{W: size.Dx(), H: size.Dy()}
	for y := size.Min.Y; y < size.Max.Y; y++ {
		for x := size.Min.X; x < size.Max.X; x++ {
			r, g, b, _ := img.At(x, y).RGBA()
			p.Pix = append(p.Pix, uint8(r>>8), uint8(g>>8), uint8(b>>8))
		}
	}
	return p
}

func scaled(p *picture.RGB, w, h int) *picture.RGB {
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.CatmullRom.Scale(out, out.Rect, drawable(p), image.Rect(0, 0, p.W, p.H), draw.Src, nil)
	return rgb(out)
}

func compressed(t *testing.T, p *picture.RGB, quality int) *picture.RGB {
	t.Helper()
	var file bytes.Buffer
	if err := jpeg.Encode(&file, drawable(p), &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	return decoded(t, file.Bytes())
}

// cropped takes a share of the width and height away, half of it on each side.
func cropped(p *picture.RGB, share float64) *picture.RGB {
	x, y := int(share*float64(p.W)/2), int(share*float64(p.H)/2)
	return rgb(drawable(p).SubImage(image.Rect(x, y, p.W-x, p.H-y)))
}

// The rule on photos: copies of another size, quality or shape are found, cropped ones mostly are not, and photos of
// different things are far apart.
func TestPhotos(t *testing.T) {
	list := photos(t)
	changes := []struct {
		name   string
		change func(*picture.RGB) *picture.RGB
		found  func(n int) bool
	}{
		{"half size", func(p *picture.RGB) *picture.RGB { return scaled(p, p.W/2, p.H/2) }, all(list)},
		{"quality 30", func(p *picture.RGB) *picture.RGB { return compressed(t, p, 30) }, all(list)},
		{"squeezed", func(p *picture.RGB) *picture.RGB { return scaled(p, 2*p.W/3, p.H) }, all(list)},
		{"square", func(p *picture.RGB) *picture.RGB { return scaled(p, 224, 224) }, all(list)},
		{"half size, quality 30", func(p *picture.RGB) *picture.RGB {
			return compressed(t, scaled(p, p.W/2, p.H/2), 30)
		}, most(list)},
		{"lighter", func(p *picture.RGB) *picture.RGB {
			light := &picture.RGB{W: p.W, H: p.H}
			for _, level := range p.Pix {
				light.Pix = append(light.Pix, uint8(min(255, 13*int(level)/10)))
			}
			return light
		}, most(list)},
		{"cropped by a tenth", func(p *picture.RGB) *picture.RGB { return cropped(p, 0.1) },
			func(n int) bool { return 4*n < len(list) }},
	}
	found := make([]int, len(changes))
	hashes := make([]Hash, len(list))
	for i, photo := range list {
		if hashes[i] = HashOf(photo); hashes[i].Plain {
			t.Errorf("photo %d is plain", i)
		}
		for k, c := range changes {
			if hashes[i].Distance(HashOf(c.change(photo))) <= Near {
				found[k]++
			}
		}
	}
	for k, c := range changes {
		if t.Logf("%s: %d of %d found", c.name, found[k], len(list)); !c.found(found[k]) {
			t.Errorf("%s: %d of %d found", c.name, found[k], len(list))
		}
	}
	nearest := steps
	for i := range hashes {
		for k := range i {
			nearest = min(nearest, hashes[i].Distance(hashes[k]))
		}
	}
	if t.Logf("nearest pair of different photos: %d", nearest); nearest <= 2*Near {
		t.Errorf("two different photos are %d apart", nearest)
	}
}

// all is the condition that every picture is found.
func all(list []*picture.RGB) func(int) bool { return func(n int) bool { return n == len(list) } }

// most is the condition that nine of ten pictures are found.
func most(list []*picture.RGB) func(int) bool { return func(n int) bool { return 10*n >= 9*len(list) } }

// filled is a picture of w x h whose pixels are of one colour but for a rectangle.
func filled(w, h int, at image.Rectangle) *picture.RGB {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(img, img.Rect, image.White, image.Point{}, draw.Src)
	draw.Draw(img, at, image.Black, image.Point{}, draw.Src)
	return rgb(img)
}

// A plain picture is near the same pixels alone: other drawings on white differ from it in a few bits.
func TestPlainPictures(t *testing.T) {
	one, other := filled(320, 240, image.Rect(90, 100, 120, 130)), filled(320, 240, image.Rect(95, 100, 130, 140))
	empty, wide := filled(320, 240, image.Rectangle{}), filled(321, 240, image.Rectangle{})
	hashes := []Hash{HashOf(one), HashOf(other), HashOf(empty), HashOf(wide)}
	for i, h := range hashes {
		if !h.Plain {
			t.Errorf("picture %d is not plain", i)
		}
		for k, second := range hashes {
			if near := h.Distance(second) <= Near; near != (i == k) {
				t.Errorf("pictures %d and %d: near %t", i, k, near)
			}
		}
	}
	if h := HashOf(filled(320, 240, image.Rect(90, 100, 120, 130))); h != hashes[0] {
		t.Error("the same pixels have another hash")
	}
	if gradient := HashOf(rising(64, 48)); gradient.Plain || gradient.Bits != 1<<steps-1 {
		t.Errorf("a rising gradient has %v", gradient)
	}
}

// rising grows lighter from left to right.
func rising(w, h int) *picture.RGB {
	p := &picture.RGB{W: w, H: h}
	for i := range w * h {
		v := uint8(255 * (i % w) / max(1, w-1))
		p.Pix = append(p.Pix, v, v, v)
	}
	return p
}

// Cells have equal weights whatever the size, and each pixel has the same weight in all cells together.
func TestCellsShareThePixels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size, cells := rapid.IntRange(1, 300).Draw(t, "size"), rapid.SampledFrom([]int{columns, lines}).Draw(t, "cells")
		weights := make([]int64, size)
		ones := make([]int64, size)
		for i := range ones {
			ones[i] = 1
		}
		for c, s := range cut(size, cells) {
			if sum := s.sum(ones); sum != int64(size) {
				t.Fatalf("cell %d weighs %d", c, sum)
			}
			for i := range weights {
				weights[i] += s.weight(i)
			}
		}
		for i, w := range weights {
			if w != int64(cells) {
				t.Fatalf("pixel %d weighs %d", i, w)
			}
		}
	})
}

// Pixels drawn twice or three times as large give the same hash, bit for bit.
func TestHashOfLargerPixels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 40).Draw(t, "w"), rapid.IntRange(1, 40).Draw(t, "h")
		p := &picture.RGB{W: w, H: h, Pix: rapid.SliceOfN(rapid.Uint8(), 3*w*h, 3*w*h).Draw(t, "pixels")}
		across, down := rapid.IntRange(1, 3).Draw(t, "across"), rapid.IntRange(1, 3).Draw(t, "down")
		larger := &picture.RGB{W: across * w, H: down * h}
		for y := range larger.H {
			for x := range larger.W {
				at := 3 * (y/down*w + x/across)
				larger.Pix = append(larger.Pix, p.Pix[at:at+3]...)
			}
		}
		if a, b := HashOf(p), HashOf(larger); a.Plain != b.Plain || !a.Plain && a != b {
			t.Fatalf("%v and %v", a, b)
		}
	})
}

// anyHash draws hashes of which many are near each other.
func anyHash() *rapid.Generator[Hash] {
	return rapid.Custom(func(t *rapid.T) Hash {
		h := Hash{Bits: rapid.SampledFrom([]uint64{0, 1<<steps - 1, 0x0123456789abcdef}).Draw(t, "centre")}
		for range rapid.IntRange(0, 6).Draw(t, "flips") {
			h.Bits ^= 1 << rapid.IntRange(0, steps-1).Draw(t, "bit")
		}
		h.Plain = rapid.IntRange(0, 4).Draw(t, "plain") == 0
		return h
	})
}

func TestHashAsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := anyHash().Draw(t, "hash")
		text, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		var back Hash
		if err := json.Unmarshal(text, &back); err != nil || back != h {
			t.Fatalf("%s is read as %v, %v", text, back, err)
		}
	})
	for _, text := range []string{
		`""`, `"="`, `"12"`, `"0123456789abcdeg"`, `"00123456789abcdef"`, `"+123456789abcdef"`,
	} {
		if err := json.Unmarshal([]byte(text), new(Hash)); err == nil {
			t.Errorf("%s is read as a hash", text)
		}
	}
}

// The bands miss nothing: an index finds what a comparison with every picture finds.
func TestIndexFindsWhatAllPairsFind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x Index
		hashes := rapid.SliceOf(anyHash()).Draw(t, "hashes")
		for i, h := range hashes {
			if number := x.Add(h); number != i {
				t.Fatalf("picture %d got the number %d", i, number)
			}
		}
		h := anyHash().Draw(t, "wanted")
		want, distance := -1, Near+1
		for i, other := range hashes {
			if d := h.Distance(other); d < distance {
				want, distance = i, d
			}
		}
		number, d, ok := x.Nearest(h)
		if ok != (want >= 0) || ok && (number != want || d != distance) {
			t.Fatalf("%v: found %d at %d (%t), want %d at %d", h, number, d, ok, want, distance)
		}
	})
}

// Any four bits may differ.
func TestIndexFindsAnyFourBits(t *testing.T) {
	var x Index
	h := Hash{Bits: 0x0f1e2d3c4b5a6978}
	x.Add(h)
	for a := range steps {
		for b := range a {
			for c := range b {
				for d := range c {
					flipped := Hash{Bits: h.Bits ^ (1<<a | 1<<b | 1<<c | 1<<d)}
					if _, distance, ok := x.Nearest(flipped); !ok || distance != bits.OnesCount64(h.Bits^flipped.Bits) {
						t.Fatalf("%x is not found", flipped.Bits)
					}
				}
			}
		}
	}
}

// One of each is kept if only what is near nothing is added: what is kept has no two alike, and what is not kept is
// near something that is.
func TestIndexKeepsOneOfEach(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x Index
		var kept []Hash
		for _, h := range rapid.SliceOf(anyHash()).Draw(t, "hashes") {
			number, distance, ok := x.Nearest(h)
			if ok {
				if number >= len(kept) || h.Distance(kept[number]) != distance || distance > Near {
					t.Fatalf("%v is counted with number %d of %d, at %d", h, number, len(kept), distance)
				}
				continue
			}
			for _, other := range kept {
				if h.Distance(other) <= Near {
					t.Fatalf("%v and %v are both kept", h, other)
				}
			}
			kept = append(kept, h)
			x.Add(h)
		}
	})
}
