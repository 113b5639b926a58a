package pictures

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/png"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/serve"
)

func pngOf(t testing.TB, picture image.Image) []byte {
	t.Helper()
	var file bytes.Buffer
	if err := png.Encode(&file, picture); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// bomb is a PNG that says it has so many pixels.
func bomb(t testing.TB, width, height uint32) []byte {
	file := pngOf(t, image.NewGray(image.Rect(0, 0, 1, 1)))
	binary.BigEndian.PutUint32(file[16:], width)
	binary.BigEndian.PutUint32(file[20:], height)
	binary.BigEndian.PutUint32(file[29:], crc32.ChecksumIEEE(file[12:29]))
	return file
}

// TestKinds: pictures of one channel, a palette or an alpha are RGB like all others; LLaVA's worker fails on them.
func TestKinds(t *testing.T) {
	frame := image.Rect(0, 0, 5, 3)
	red := color.NRGBA{R: 255, A: 255}
	palette := image.NewPaletted(frame, color.Palette{color.Black, red})
	for i := range palette.Pix {
		palette.Pix[i] = 1
	}
	grey, clear := image.NewGray(frame), image.NewNRGBA(frame)
	for i := range grey.Pix {
		grey.Pix[i] = 99
	}
	for i := range frame.Dx() * frame.Dy() {
		clear.SetNRGBA(i%5, i/5, color.NRGBA{R: 9, G: 8, B: 7, A: 1})
	}
	var animated bytes.Buffer
	err := gif.EncodeAll(&animated, &gif.GIF{Image: []*image.Paletted{palette, palette}, Delay: []int{1, 1}})
	if err != nil {
		t.Fatal(err)
	}
	bmp, err := os.ReadFile("../../data/picture/testdata/image_1.bmp")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		file []byte
		want []byte // first pixel; nil: any
	}{
		{"grey", pngOf(t, grey), []byte{99, 99, 99}},
		{"palette", pngOf(t, palette), []byte{255, 0, 0}},
		{"alpha", pngOf(t, clear), []byte{9, 8, 7}},
		{"one pixel", pngOf(t, image.NewGray(image.Rect(0, 0, 1, 1))), []byte{0, 0, 0}},
		{"two frames", animated.Bytes(), []byte{255, 0, 0}},
		{"bits", bmp, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			set, err := NewDecoder().Decode(t.Context(), [][]byte{test.file})
			if err != nil {
				t.Fatal(err)
			}
			defer set.Release()
			rgb := set.RGB[0]
			if len(rgb.Pix) != 3*rgb.W*rgb.H || test.want != nil && !bytes.Equal(rgb.Pix[:3], test.want) {
				t.Errorf("%d×%d: %v", rgb.W, rgb.H, rgb.Pix)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	good := pngOf(t, image.NewGray(image.Rect(0, 0, 4, 4)))
	for _, test := range []struct {
		name  string
		files [][]byte
		says  string
	}{
		{"nine", [][]byte{good, good, good, good, good, good, good, good, good}, "8 pictures; this one has 9"},
		{"text", [][]byte{good, []byte("hello")}, "Picture 2 cannot be used: file begins with"},
		{"empty", [][]byte{nil}, "Picture 1 cannot be used: file is empty"},
		{"SVG", [][]byte{[]byte(`<svg onload="x">`)}, "SVG"},
		{"cut", [][]byte{good[:len(good)-20]}, "Picture 1 cannot be used: PNG cannot be decoded"},
		{"bomb", [][]byte{bomb(t, 10_000, 10_000)}, "10000×10000 pixels; the limit is 50 million"},
		{"bomb of the greatest size", [][]byte{bomb(t, 1<<31-1, 1<<31-1)}, "Picture 1"},
		{"long", [][]byte{bomb(t, 1<<20, 1)}, "Picture 1"},
		{"no pixels", [][]byte{bomb(t, 0, 5)}, "Picture 1"},
		{"together", [][]byte{bomb(t, 7000, 7000), bomb(t, 7000, 7000), bomb(t, 7000, 7000), bomb(t, 7000, 7000),
			bomb(t, 7000, 7000)}, "245 million pixels together"},
		{"says more than it has", [][]byte{bomb(t, 7000, 7000)}, "Picture 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := NewDecoder()
			_, err := d.Decode(t.Context(), test.files)
			wantRefusal(t, err, serve.BadPicture, test.says)
			if strings.ContainsAny(err.Error(), "\x1b\x00") || strings.Contains(err.Error(), "recipe") {
				t.Errorf("%v", err)
			}
			if d.memory.free != maxTogether || len(d.turns) != 0 {
				t.Errorf("%d pixels and %d turns are free", d.memory.free, atOnce-len(d.turns))
			}
		})
	}
}

// TestBombMemory: a picture over the limit takes no memory for its pixels.
func TestBombMemory(t *testing.T) {
	file := bomb(t, 60_000, 60_000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		NewDecoder().Decode(t.Context(), [][]byte{file})
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 10<<20 {
		t.Errorf("%d bytes were taken", took)
	}
}

// blocking is a decoder whose files take until the channel is closed.
func blocking() (*Decoder, chan struct{}) {
	d, end := NewDecoder(), make(chan struct{})
	d.decode = func([]byte) (*picture.RGB, error) {
		<-end
		return &picture.RGB{W: 4, H: 4}, nil
	}
	return d, end
}

// TestTurns: two files are decoded at once. One that takes too long is given up, and keeps its turn until it ends.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, end := blocking()
		file := [][]byte{pngOf(t, image.NewGray(image.Rect(0, 0, 4, 4)))}
		errs := make(chan error)
		for range atOnce {
			go func() {
				_, err := d.Decode(t.Context(), file)
				errs <- err
			}()
		}
		synctest.Wait()
		if len(d.turns) != atOnce {
			t.Errorf("%d are decoded", len(d.turns))
		}
		for range atOnce {
			wantRefusal(t, <-errs, serve.BadPicture, "too long")
		}
		_, err := d.Decode(t.Context(), file)
		wantRefusal(t, err, serve.Busy, "again")
		close(end)
		synctest.Wait()
		if set, err := d.Decode(t.Context(), file); err != nil || len(set.RGB) != 1 {
			t.Error(err)
		}
	})
}

func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, end := blocking()
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error)
		for range atOnce + 1 {
			go func() {
				_, err := d.Decode(ctx, [][]byte{pngOf(t, image.NewGray(image.Rect(0, 0, 4, 4)))})
				errs <- err
			}()
		}
		synctest.Wait()
		cancel()
		for range atOnce + 1 {
			if err := <-errs; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		if d.memory.free != maxTogether {
			t.Errorf("%d pixels are free", d.memory.free)
		}
		close(end)
	})
}

func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDecoder()
		d.decode = func([]byte) (*picture.RGB, error) { return &picture.RGB{}, nil }
		large := bomb(t, 7000, 7000)
		first, err := d.Decode(t.Context(), [][]byte{large, large, large, large})
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Decode(t.Context(), [][]byte{large})
		wantRefusal(t, err, serve.Busy, "again")
		got := make(chan error)
		go func() {
			set, err := d.Decode(t.Context(), [][]byte{large})
			set.Release()
			got <- err
		}()
		synctest.Wait()
		first.Release()
		first.Release()
		if err := <-got; err != nil || d.memory.free != maxTogether {
			t.Errorf("%v, %d pixels are free", err, d.memory.free)
		}
	})
}

func TestPanic(t *testing.T) {
	d := NewDecoder()
	d.decode = func([]byte) (*picture.RGB, error) { panic("secret") }
	_, err := d.Decode(t.Context(), [][]byte{pngOf(t, image.NewGray(image.Rect(0, 0, 4, 4)))})
	wantRefusal(t, err, serve.BadPicture, "damaged")
	if strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}
