package browsertest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// picturePNG is a picture of a size with something to see.
func picturePNG(width, height int) []byte {
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			m.Set(x, y, color.RGBA{uint8(x), uint8(y), uint8(x * y), 255})
		}
	}
	var b bytes.Buffer
	png.Encode(&b, m)
	return b.Bytes()
}

// file writes a file that the browser can open.
func file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// addPicture adds a file by the button Add picture.
func (p *page) addPicture(name string, content []byte) {
	p.t.Helper()
	p.addFiles(file(p.t, name, content))
	p.wait(`document.querySelector("#previews img[alt='` + name + `']")?.complete`)
}

// addFiles answers the dialog that the button Add picture opens.
func (p *page) addFiles(paths ...string) {
	p.t.Helper()
	p.fileDialog(func() { p.click("button", "Add picture") }, paths...)
}

// sizes are those of a request's pictures.
func (a ask) sizes() string {
	var sizes []string
	for _, p := range a.Pictures {
		sizes = append(sizes, fmt.Sprintf("%dx%d", p.W, p.H))
	}
	return strings.Join(sizes, " ")
}

func TestPictures(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	small := picturePNG(40, 30)
	p.addPicture("small.png", small)
	p.addPicture("wide one.png", picturePNG(3000, 500))
	p.waitText("3000 × 500, sent as 1344 × 224")
	p.addPicture("third.png", picturePNG(20, 20))
	if n := len(p.find("button", "Remove picture")); n != 3 {
		t.Fatalf("%d pictures can be removed", n)
	}
	p.click("button", "Remove picture") // the last
	p.ask("two pictures")
	p.answered()
	r := s.last(t)
	if r.texts() != "two pictures" || r.sizes() != "40x30 1344x224" {
		t.Fatalf("%s with pictures %s", r.texts(), r.sizes())
	}
	m, _ := png.Decode(bytes.NewReader(small))
	for i, value := range r.Pictures[0].Pix {
		if want := m.(*image.RGBA).Pix[i/3*4+i%3]; value != want {
			t.Fatalf("a small picture is changed: value %d is %d, not %d", i, value, want)
		}
	}
	alts := p.text(`[...document.querySelectorAll(".question img")].map((image) => image.alt)`)
	if alts != "small.png,wide one.png" {
		t.Errorf("the question shows %s", alts)
	}
	p.wait(`[...document.querySelectorAll(".question img")].every((i) => i.naturalWidth > 0)`)
	p.ask("and the same again")
	p.answered()
	if r := s.last(t); len(r.Messages) != 3 || r.sizes() != "40x30 1344x224" {
		t.Errorf("the next question has pictures %s", r.sizes())
	}
}

func TestDropAndPaste(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	path := file(t, "dropped.png", picturePNG(16, 9))
	data := dict{"items": []any{}, "files": []string{path}, "dragOperationsMask": 1}
	for _, kind := range []string{"dragEnter", "dragOver"} {
		p.call("Input.dispatchDragEvent", dict{"type": kind, "x": 700, "y": 300, "data": data}, nil)
	}
	p.wait(`document.body.classList.contains("dropping")`)
	p.call("Input.dispatchDragEvent", dict{"type": "drop", "x": 700, "y": 300, "data": data}, nil)
	p.wait(`document.querySelector("#previews img[alt='dropped.png']")`)

	p.grantClipboard()
	p.run(`(async () => {
		const bytes = Uint8Array.from(atob("` + base64.StdEncoding.EncodeToString(picturePNG(12, 12)) + `"),
			(c) => c.charCodeAt(0));
		await navigator.clipboard.write([new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) })]);
	})()`)
	p.run(`document.getElementById("message").focus()`)
	p.press("Paste", 2)
	p.wait(`document.querySelectorAll("#previews img").length === 2`)
	p.run(`navigator.clipboard.writeText("pasted text")`)
	p.press("Paste", 2)
	p.wait(`document.getElementById("message").value === "pasted text"`)
	p.press("Enter", 0)
	p.answered()
	if r := s.last(t); r.texts() != "pasted text" || r.sizes() != "16x9 12x12" {
		t.Errorf("%s with pictures %s", r.texts(), r.sizes())
	}
}

func (p *page) grantClipboard() {
	p.t.Helper()
	p.call("Browser.grantPermissions", dict{"origin": p.origin, "browserContextId": p.context,
		"permissions": []string{"clipboardReadWrite", "clipboardSanitizedWrite"}}, nil)
}

// TestOtherFormats adds a GIF of two pictures: the first is sent, on white where it is transparent.
func TestOtherFormats(t *testing.T) {
	frame := image.NewPaletted(image.Rect(0, 0, 6, 4), color.Palette{color.Transparent, color.RGBA{200, 0, 0, 255}})
	frame.SetColorIndex(0, 0, 1)
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, &gif.GIF{Image: []*image.Paletted{frame, frame}, Delay: []int{1, 1}}); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	p.addPicture("two.gif", b.Bytes())
	p.ask("which?")
	p.answered()
	r := s.last(t)
	if pix := r.Pictures[0].Pix; r.sizes() != "6x4" || pix[0] != 200 || pix[1] != 0 || pix[3] != 255 || pix[5] != 255 {
		t.Errorf("%s, %v", r.sizes(), pix)
	}
}

func TestBadPictures(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	for _, test := range []struct{ name, content, says string }{
		{"photo.heic", "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heicmif1", "photo.heic is a HEIC picture"},
		{"text.png", "not a picture", "text.png is no picture that this browser can open"},
		{"empty.jpg", "", "empty.jpg is no picture"},
	} {
		p.addFiles(file(t, test.name, []byte(test.content)))
		p.waitText(test.says)
		if len(p.find("alert", "")) == 0 {
			t.Errorf("%s: no alert", test.name)
		}
	}
	var paths []string
	for i := range 9 {
		paths = append(paths, file(t, string(rune('a'+i))+".png", picturePNG(4, 4)))
	}
	p.addFiles(paths...)
	p.waitText("The conversation is full of pictures")
	if n := p.text(`document.querySelectorAll("#previews img").length`); n != "8" {
		t.Errorf("%s pictures were taken", n)
	}
}

func TestExamples(t *testing.T) {
	s := newSite(t)
	p := newPage(t, s.url, s.url+"/")
	for _, question := range []string{"How many shapes are there?", "What is unusual about this picture?"} {
		p.click("button", question)
		p.wait(`document.querySelector("#previews img")?.complete && document.getElementById("message").value`)
		p.press("Enter", 0)
		p.answered()
		if r := s.last(t); r.texts() != question || r.sizes() != "640x480" {
			t.Errorf("%s with pictures %s", r.texts(), r.sizes())
		}
		p.click("button", "Clear")
		p.waitText("Ask about a picture")
	}
}
