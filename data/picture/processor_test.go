package picture

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/datatest"
)

// floats are the prepared pixels as the tower will see them, [3,S,S].
func floats(p *Processor, pixels []uint8) []float32 {
	table := p.Table()
	out := make([]float32, len(pixels))
	for i, v := range pixels {
		out[i] = table[256*(i/(p.Size*p.Size))+int(v)]
	}
	return out
}

// TestPrepareSynthetic compares with Pillow 9.4 and transformers 4.37 on made images: the SHA-256 of the float32
// values.
func TestPrepareSynthetic(t *testing.T) {
	for _, test := range []struct {
		w, h, size int
		aspect     string
		hash       string
	}{
		{640, 480, 336, "square", "59e0519a4ebc"}, {640, 480, 336, "pad", "16fd97c22bdf"},
		{640, 480, 224, "square", "d1c758f0ea64"},
		{481, 640, 336, "square", "431e82e5f5da"}, {481, 640, 336, "pad", "645418b3f982"},
		{100, 37, 336, "square", "4d1ae818d9e0"}, {100, 37, 336, "pad", "883eb9ce2902"},
	} {
		p := CLIPProcessor(test.size)
		if hash := hashPrepared(p, test.w, test.h, test.aspect); hash != test.hash {
			t.Errorf("%dx%d to %d %s: hash %s, want %s", test.w, test.h, test.size, test.aspect, hash, test.hash)
		}
	}
}

// hashPrepared is the beginning of the SHA-256 of a made image's float32 values.
func hashPrepared(p *Processor, w, h int, aspect string) string {
	var raw []byte
	for _, v := range floats(p, p.Prepare(synthetic(w, h), aspect)) {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:6])
}

// TestPrepareSigLIP compares with transformers' SiglipImageProcessor; testdata/processor_make.py printed the table.
func TestPrepareSigLIP(t *testing.T) {
	for _, test := range []struct {
		w, h, size, filter int
		aspect, hash       string
	}{
		{640, 480, 384, 3, "square", "d75ad7ed8a36"}, {640, 480, 384, 3, "pad", "1c53956d9097"},
		{481, 640, 224, 3, "square", "81da34c4dc33"}, {481, 640, 224, 3, "pad", "dff705f27be8"},
		{100, 37, 224, 3, "square", "dafdc7ef75e8"}, {100, 37, 224, 3, "pad", "aedd69061826"},
		{640, 480, 384, 2, "square", "f0751546c9de"}, {640, 480, 384, 2, "pad", "a03292e0c5c2"},
		{481, 640, 224, 2, "square", "2f5d68f8b882"}, {481, 640, 224, 2, "pad", "50a83ca86840"},
		{100, 37, 224, 2, "square", "fdbb8f204507"}, {100, 37, 224, 2, "pad", "8acf195ce899"},
	} {
		p := SigLIPProcessor(test.size)
		p.Filter = test.filter
		if hash := hashPrepared(p, test.w, test.h, test.aspect); hash != test.hash {
			t.Errorf("%dx%d to %d by %d %s: hash %s, want %s",
				test.w, test.h, test.size, test.filter, test.aspect, hash, test.hash)
		}
	}
}

// TestPrepareDINOv2 compares with transformers' BitImageProcessor; testdata/processor_make.py printed the table. Its
// shorter side becomes longer than the crop.
func TestPrepareDINOv2(t *testing.T) {
	for _, test := range []struct {
		w, h, size   int
		aspect, hash string
	}{
		{640, 480, 224, "square", "bd7780ebd485"}, {640, 480, 224, "pad", "57ba7f003a44"},
		{481, 640, 224, "square", "fb2664580ed9"}, {481, 640, 224, "pad", "62f8c2950813"},
		{100, 37, 224, "square", "e994aa19587b"}, {100, 37, 224, "pad", "281d3afe2f6d"},
		{640, 480, 336, "square", "c67450c64dd4"}, {640, 480, 336, "pad", "d37f94c37b69"},
	} {
		p := DINOv2Processor(test.size)
		if hash := hashPrepared(p, test.w, test.h, test.aspect); hash != test.hash {
			t.Errorf("%dx%d to %d %s: hash %s, want %s", test.w, test.h, test.size, test.aspect, hash, test.hash)
		}
	}
}

// A processor for images of another size keeps the same part of them.
func TestResizedProcessors(t *testing.T) {
	wide := DINOv2Processor(224)
	wide.Edge = 4096
	for _, c := range []struct {
		p          *Processor
		size, edge int
	}{
		{DINOv2Processor(224), 336, 384}, {DINOv2Processor(224), 14, 16}, {DINOv2Processor(224), 224, 256},
		{CLIPProcessor(224), 336, 336}, {SigLIPProcessor(224), 336, 0}, {wide, 448, 4096}, {wide, 4096, 4096},
	} {
		want := *c.p
		want.Size, want.Edge = c.size, c.edge
		if got := c.p.Resized(c.size); *got != want {
			t.Errorf("%+v for %d becomes %+v, want %+v", *c.p, c.size, *got, want)
		}
	}
}

// The file of facebook/dinov2-base.
func TestOpenProcessorOfDINOv2(t *testing.T) {
	p, err := parseProcessor([]byte(`{"crop_size": {"height": 224, "width": 224}, "do_center_crop": true,
		"do_convert_rgb": true, "do_normalize": true, "do_rescale": true, "do_resize": true,
		"image_mean": [0.485, 0.456, 0.406], "image_processor_type": "BitImageProcessor",
		"image_std": [0.229, 0.224, 0.225], "resample": 3, "rescale_factor": 0.00392156862745098,
		"size": {"shortest_edge": 256}}`))
	if diff := cmp.Diff(DINOv2Processor(224), p); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func synthetic(w, h int) *RGB {
	img := newRGB(w, h)
	for y := range h {
		for x := range w {
			copy(img.Pix[3*(y*w+x):], []uint8{uint8(7*x + 3*y), uint8(x*x + 5*y), uint8(x*y + 11)})
		}
	}
	return img
}

func TestPrepareTiny(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {1, 7}, {7, 1}, {3, 3}, {5, 3}, {2000, 1}} {
		for _, aspect := range []string{"square", "pad"} {
			img := newRGB(size[0], size[1])
			for i := range img.Pix {
				img.Pix[i] = 200
			}
			got := CLIPProcessor(28).Prepare(img, aspect)
			if middle := got[14*28+14]; len(got) != 3*28*28 || aspect == "square" && middle != 200 {
				t.Errorf("%v %s: %d values, %d in the middle", size, aspect, len(got), middle)
			}
		}
	}
}

// TestPrepareEqualsReference compares with the recorded output of the original's processor for every photo, bit for
// bit.
func TestPrepareEqualsReference(t *testing.T) {
	parity, photos := datatest.Shared(t, "parity"), datatest.Shared(t, "coco-mini", "images")
	p, err := OpenProcessor(filepath.Join(parity, "clip"), 0)
	if err != nil {
		t.Fatal(err)
	}
	index := struct {
		Photos []struct {
			File, Decoded string
			Width, Height int
		}
	}{}
	if err := json.Unmarshal(readTestFile(t, filepath.Join(parity, "pixels.json")), &index); err != nil {
		t.Fatal(err)
	}
	reference := readFloats(t, filepath.Join(parity, "pixels.safetensors"))
	im, err := OpenImages(photos, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	decoded := 0
	for _, photo := range index.Photos {
		img, err := im.Read(photo.File)
		if err != nil {
			t.Fatal(err)
		}
		for _, aspect := range []string{"square", "pad"} {
			if diff := cmp.Diff(reference[photo.File+"."+aspect], floats(p, p.Prepare(img, aspect))); diff != "" {
				t.Errorf("%s %s (-want +got):\n%.500s", photo.File, aspect, diff)
			}
		}
		if photo.Decoded == "" {
			continue
		}
		decoded++
		if most, _ := distance(t, img, readPNG(t, filepath.Join(parity, photo.Decoded))); most > 0 {
			t.Errorf("%s: decoded pixels differ by up to %d levels", photo.File, most)
		}
	}
	if len(index.Photos) == 0 || decoded != 2 {
		t.Errorf("%d photos and %d decoded ones, want 2", len(index.Photos), decoded)
	}
}

// readFloats reads a safetensors file whose tensors are all F32.
func readFloats(t *testing.T, path string) map[string][]float32 {
	t.Helper()
	tensors := map[string][]float32{}
	for name, raw := range readTensors(t, path) {
		for ; len(raw) > 0; raw = raw[4:] {
			tensors[name] = append(tensors[name], math.Float32frombits(binary.LittleEndian.Uint32(raw)))
		}
	}
	return tensors
}

// readTensors reads the bytes of every tensor of a safetensors file.
func readTensors(t *testing.T, path string) map[string][]byte {
	t.Helper()
	file := readTestFile(t, path)
	size := binary.LittleEndian.Uint64(file)
	var header map[string]struct {
		Offsets [2]int `json:"data_offsets"`
	}
	if err := json.Unmarshal(file[8:8+size], &header); err != nil {
		t.Fatal(err)
	}
	delete(header, "__metadata__")
	tensors := map[string][]byte{}
	for name, entry := range header {
		tensors[name] = file[8+size:][entry.Offsets[0]:entry.Offsets[1]]
	}
	return tensors
}

const clipConfig = `{"size": 224, "crop_size": 224, "image_mean": [0.48145466, 0.4578275, 0.40821073],
	"image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "do_resize": true,
	"feature_extractor_type": "CLIPFeatureExtractor"}`

func TestOpenProcessor(t *testing.T) {
	edge256, squash, linear := CLIPProcessor(224), CLIPProcessor(224), CLIPProcessor(224)
	edge256.Edge, squash.Edge, linear.Filter = 256, 0, bilinear
	for name, test := range map[string]struct {
		old, new string
		want     *Processor
		problem  string
	}{
		"numbers":       {want: CLIPProcessor(224)},
		"shortest edge": {old: `"size": 224`, new: `"size": {"shortest_edge": 224}`, want: CLIPProcessor(224)},
		"crop object": {old: `"crop_size": 224`, new: `"crop_size": {"height": 224, "width": 224}`,
			want: CLIPProcessor(224)},
		"no crop size": {old: `"crop_size": 224,`, want: CLIPProcessor(224)},
		"larger edge":  {old: `"size": 224`, new: `"size": 256`, want: edge256},
		"squash":       {old: `"size": 224`, new: `"size": {"height": 224, "width": 224}`, want: squash},
		"null flag":    {old: `"do_resize": true`, new: `"do_convert_rgb": null`, want: CLIPProcessor(224)},
		"no resize": {old: `"do_resize": true`, new: `"do_resize": false`,
			problem: "do_resize false is not supported"},
		"no crop":      {old: `"do_resize": true`, new: `"do_center_crop": false`, problem: "do_center_crop false"},
		"no rescale":   {old: `"do_resize": true`, new: `"do_rescale": false`, problem: "do_rescale false"},
		"no normalise": {old: `"do_resize": true`, new: `"do_normalize": false`, problem: "do_normalize false"},
		"no RGB":       {old: `"do_resize": true`, new: `"do_convert_rgb": false`, problem: "do_convert_rgb false"},
		"bilinear":     {old: `"resample": 3`, new: `"resample": 2`, want: linear},
		"nearest":      {old: `"resample": 3`, new: `"resample": 0`, problem: "resample 0 is not supported"},
		"no size":      {old: `"size": 224,`, problem: "size is missing"},
		"not square":   {old: `"size": 224`, new: `"size": {"height": 224, "width": 448}`, problem: "not supported"},
		"odd size":     {old: `"size": 224`, new: `"size": {"longest_edge": 224}`, problem: "not supported"},
		"text size":    {old: `"size": 224`, new: `"size": "224"`, problem: "is not a number"},
		"crop too big": {old: `"crop_size": 224`, new: `"crop_size": 256`,
			problem: "crop_size 256 does not fit size 224"},
		"huge":          {old: `"size": 224`, new: `"size": 100000`, problem: "must be from 1 to 4096"},
		"negative":      {old: `"crop_size": 224`, new: `"crop_size": -1`, problem: "must be from 1 to 4096"},
		"squash, crop":  {old: `"size": 224`, new: `"size": {"height": 256, "width": 256}`, problem: "does not fit"},
		"mean of one":   {old: `[0.48145466, 0.4578275, 0.40821073]`, new: `[0.5]`, problem: "image_mean has 1 values"},
		"mean of bytes": {old: `0.48145466`, new: `122`, problem: "must be from 0 to 1"},
		"zero std":      {old: `0.26862954`, new: `0`, problem: "image_std"},
		"zero factor":   {old: `"resample": 3`, new: `"rescale_factor": 0`, problem: "rescale_factor 0"},
		"not JSON":      {old: `{`, problem: "invalid character"},
	} {
		text := strings.Replace(clipConfig, test.old, test.new, 1)
		path := filepath.Join(t.TempDir(), processorFile)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := OpenProcessor(filepath.Dir(path), 0)
		if test.problem != "" {
			if err == nil || !strings.Contains(err.Error(), test.problem) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: error %v, want %q and the path", name, err, test.problem)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// The files of google/siglip-so400m-patch14-384 and google/siglip2-so400m-patch14-384, which differ in resample.
func TestOpenProcessorOfSigLIP(t *testing.T) {
	for _, filter := range []int{bicubic, bilinear} {
		p, err := parseProcessor([]byte(fmt.Sprintf(`{"do_convert_rgb": null, "do_normalize": true,
			"do_rescale": true, "do_resize": true,
			"image_mean": [0.5, 0.5, 0.5], "image_processor_type": "SiglipImageProcessor", "image_std": [0.5, 0.5, 0.5],
			"processor_class": "SiglipProcessor", "resample": %d, "rescale_factor": 0.00392156862745098,
			"size": {"height": 384, "width": 384}}`, filter)))
		if err != nil {
			t.Fatal(err)
		}
		want := SigLIPProcessor(384)
		want.Filter = filter
		if diff := cmp.Diff(want, p); diff != "" {
			t.Errorf("resample %d (-want +got):\n%s", filter, diff)
		}
	}
}

func TestOpenProcessorMissing(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if _, err := OpenProcessor(dir, 0); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: error %v", dir, err)
		}
	}
}

// What LlavaProcessor of transformers 5.17 saves: one file for the processor of text and that of pictures.
func TestOpenProcessorOfTransformers5(t *testing.T) {
	const settings = `{"crop_size": {"height": 224, "width": 224}, "do_center_crop": true, "do_convert_rgb": true,
		"do_normalize": true, "do_rescale": true, "do_resize": true, "image_mean": [0.48145466, 0.4578275, 0.40821073],
		"image_processor_type": "CLIPImageProcessor", "image_std": [0.26862954, 0.26130258, 0.27577711],
		"resample": 2, "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 256}}`
	want := CLIPProcessor(224)
	want.Edge, want.Filter = 256, bilinear // nobody's defaults
	for name, c := range map[string]struct {
		nested, beside, problem string
		want                    *Processor
	}{
		"nested": {nested: `{"image_processor": ` + settings +
			`, "image_token": "<image>", "patch_size": 14, "processor_class": "LlavaProcessor"}`, want: want},
		"its own file": {nested: `{"image_processor": ` + settings + `}`, beside: clipConfig,
			want: CLIPProcessor(224)},
		"transformers 4": {nested: `{"image_token": "<image>", "patch_size": 14, "processor_class": "LlavaProcessor"}`,
			problem: "has no image_processor"},
		"null": {nested: `{"image_processor": null}`, problem: "has no image_processor"},
		"not supported": {nested: `{"image_processor": ` +
			strings.Replace(settings, `"do_rescale": true`, `"do_rescale": false`, 1) + `}`,
			problem: "do_rescale false"},
		"a class by name":  {nested: `{"image_processor": "CLIPImageProcessor"}`, problem: "cannot unmarshal string"},
		"not JSON":         {nested: `{"image_processor": `, problem: "unexpected end of JSON"},
		"its own is wrong": {nested: `{"image_processor": ` + settings + `}`, beside: `{`, problem: processorFile},
	} {
		dir := t.TempDir()
		for file, text := range map[string]string{nestedFile: c.nested, processorFile: c.beside} {
			if text == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := OpenProcessor(dir, 0)
		if c.problem == "" {
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.problem) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: error %v, want %q and the path", name, err, c.problem)
		} else if none := strings.Contains(c.problem, "has no"); errors.Is(err, fs.ErrNotExist) != none {
			t.Errorf("%s: %v is taken for a file that is not there: %v", name, err, !none)
		}
	}
}

func TestProcessorJSON(t *testing.T) {
	squash, larger, linear := CLIPProcessor(384), CLIPProcessor(224), SigLIPProcessor(224)
	squash.Edge, larger.Edge, linear.Filter = 0, 256, bilinear
	for _, p := range []*Processor{CLIPProcessor(336), squash, larger, SigLIPProcessor(384), linear} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, processorFile), p.JSON(), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := OpenProcessor(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, got); diff != "" {
			t.Errorf("read back (-want +got):\n%s", diff)
		}
	}
	var ours, theirs map[string]any
	recorded := readTestFile(t, filepath.Join(datatest.Shared(t, "parity", "clip"), processorFile))
	if err := errors.Join(json.Unmarshal(CLIPProcessor(56).JSON(), &ours),
		json.Unmarshal(recorded, &theirs)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("the reference's file (-want +got):\n%s", diff)
	}
}

// TestPrepareSquash: with height and width in size, the image is resized without its aspect ratio, nothing is cropped.
func TestPrepareSquash(t *testing.T) {
	img := synthetic(40, 20)
	p := CLIPProcessor(20)
	p.Edge = 0
	got, want := p.Prepare(img, "square"), resizeWhole(img, 20, 20, false)
	for i := range want.Pix {
		if got[i%3*400+i/3] != want.Pix[i] {
			t.Fatalf("value %d: %d, want %d", i, got[i%3*400+i/3], want.Pix[i])
		}
	}
}

func BenchmarkImage(b *testing.B) {
	source := image.NewYCbCr(image.Rect(0, 0, 640, 480), image.YCbCrSubsampleRatio420)
	for i := range source.Y {
		source.Y[i] = uint8(i%640/3 + i*i%23)
	}
	for i := range source.Cb {
		source.Cb[i], source.Cr[i] = uint8(i%320*3/4), uint8(i/320)
	}
	var file bytes.Buffer
	if err := jpeg.Encode(&file, source, &jpeg.Options{Quality: 90}); err != nil { // 4:2:0
		b.Fatal(err)
	}
	img, err := Decode(file.Bytes())
	if err != nil {
		b.Fatal(err)
	}
	p := CLIPProcessor(336)
	b.Run("step=decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Decode(file.Bytes()); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, aspect := range []string{"square", "pad"} {
		b.Run("step=prepare/aspect="+aspect, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Prepare(img, aspect)
			}
		})
	}
	b.Run("step=all", func(b *testing.B) {
		for b.Loop() {
			img, err := Decode(file.Bytes())
			if err != nil {
				b.Fatal(err)
			}
			p.Prepare(img, "pad")
		}
	})
}
