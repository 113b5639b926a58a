package page

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"strings"
	"testing"
)

// noise is a picture that no encoder makes small.
func noise(width, height int) image.Image {
	img, random := image.NewRGBA(image.Rect(5, -3, 5+width, -3+height)), rand.New(rand.NewPCG(1, 1))
	for i := range img.Pix {
		img.Pix[i] = uint8(random.UintN(256)) | uint8(i%4/3*255)
	}
	return img
}

func decode(t *testing.T, p Picture) image.Image {
	t.Helper()
	file, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(p.uri), jpegPrefix))
	if err != nil {
		t.Fatal(err)
	}
	img, err := jpeg.Decode(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if size := img.Bounds().Size(); size != image.Pt(p.width, p.height) {
		t.Errorf("the JPEG has %v pixels, the page says %d x %d", size, p.width, p.height)
	}
	return img
}

func TestThumbnailsKeepTheirBudget(t *testing.T) {
	for _, test := range []struct {
		width, height, budget int
		wantWidth, wantHeight int // 0: smaller than with a larger budget
	}{
		{800, 600, 1 << 20, 400, 300},
		{600, 800, 1 << 20, 300, 400},
		{40, 30, 1 << 20, 40, 30},
		{1, 1, 2000, 1, 1},
		{5000, 2, 1 << 20, 400, 1},
		{2, 5000, 16_000, 1, 400},
		{800, 600, 16_000, 0, 0},
		{800, 600, 4_000, 0, 0},
		{800, 600, 1_000, 0, 0},
	} {
		p, err := Thumbnail(noise(test.width, test.height), "noise", test.budget)
		if err != nil {
			t.Errorf("%+v: %v", test, err)
			continue
		}
		decode(t, p)
		if test.wantWidth > 0 && (p.width != test.wantWidth || p.height != test.wantHeight) {
			t.Errorf("%+v: %d x %d", test, p.width, p.height)
		}
		added := written(t, p) - written(t, Picture{width: p.width, height: p.height, alt: p.alt})
		if added > test.budget || added < test.budget/4 && test.wantWidth == 0 {
			t.Errorf("%+v: the picture adds %d bytes", test, added)
		}
	}
}

// written is the size of a page with the picture.
func written(t *testing.T, p Picture) int {
	var out bytes.Buffer
	if err := (Page{Sections: []Section{{Blocks: []Block{Samples{{Picture: p}}}}}}).Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Len()
}

func TestThumbnailsThatCannotBe(t *testing.T) {
	for want, try := range map[string]func() (Picture, error){
		`thumbnail of "a": the picture has no pixels`: func() (Picture, error) {
			return Thumbnail(image.NewRGBA(image.Rect(0, 0, 0, 9)), "a", 1000)
		},
		`thumbnail of "b": no JPEG of 9 x 8 pixels fits 500 bytes; allow 1,000 at least`: func() (Picture, error) {
			return Thumbnail(noise(9, 8), "b", 500)
		},
	} {
		if p, err := try(); err == nil || err.Error() != want || p.width != 0 {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestTransparentPicturesStandOnWhite(t *testing.T) {
	img := image.NewNRGBA(image.Rect(0, 0, 16, 16))
	for y := range 8 {
		for x := range 16 {
			img.SetNRGBA(x, y, color.NRGBA{200, 0, 0, 255})
		}
	}
	p, err := Thumbnail(img, "half", 4000)
	if err != nil {
		t.Fatal(err)
	}
	got := decode(t, p)
	for y, white := range map[int]bool{2: false, 14: true} {
		r, g, b, _ := got.At(8, y).RGBA()
		if (r > 0xf000 && g > 0xf000 && b > 0xf000) != white || !white && r < 0xb000 {
			t.Errorf("row %d: %x %x %x", y, r, g, b)
		}
	}
}

// The colours of a picture are in their places: not turned, not cut, not shifted by the origin of its bounds.
func TestThumbnailsShowTheWholePicture(t *testing.T) {
	img := image.NewGray(image.Rect(-50, 20, 750, 620))
	for y := range 600 {
		for x := range 800 {
			img.SetGray(x-50, y+20, color.Gray{uint8(127*x/799 + 127*y/599)})
		}
	}
	p, err := Thumbnail(img, "ramp", 16_000)
	if err != nil {
		t.Fatal(err)
	}
	got := decode(t, p)
	right, bottom := p.width-1, p.height-1
	for _, at := range []image.Point{{0, 0}, {right, 0}, {0, bottom}, {right, bottom}, {right / 2, bottom / 2}} {
		x, y := (2*at.X+1)*400/p.width-50, (2*at.Y+1)*300/p.height+20
		want, have := int(img.GrayAt(x, y).Y), int(color.GrayModel.Convert(got.At(at.X, at.Y)).(color.Gray).Y)
		if have < want-6 || have > want+6 {
			t.Errorf("pixel %v has level %d, want about %d", at, have, want)
		}
	}
}
