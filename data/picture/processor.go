package picture

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Processor turns images into the input of a vision tower, as Hugging Face's CLIPImageProcessor does (transformers
// 4.37, image_processing_clip.py), BitImageProcessor (5.17, image_processing_pil_bit.py) and, with Edge 0,
// SiglipImageProcessor (5.17, image_processing_pil_siglip.py). It is
// read-only once made and safe for concurrent use.
type Processor struct {
	Size    int        // S, side of the prepared square in pixels
	Edge    int        // shorter side after resizing, >= S; the centre S×S is kept. 0: both sides become S
	Filter  int        // resampling filter, Pillow's number: 3 bicubic, 2 bilinear
	Mean    [3]float64 // of channel values in 0..1
	Std     [3]float64
	Rescale float64 // factor from 0..255 to 0..1
}

const (
	processorFile = "preprocessor_config.json"
	secondFile    = "preprocessor_config_2.json" // ours: of the second of a model's two towers
	nestedFile    = "processor_config.json"      // since transformers 5: the same under image_processor
	bilinear      = 2                            // PIL.Image.Resampling.BILINEAR
	bicubic       = 3                            // PIL.Image.Resampling.BICUBIC
	maxImageSize  = 4096
)

// ProcessorFile names the file with the settings of a tower's processor; place is that of the tower among those of the
// folder, 0 or 1.
func ProcessorFile(place int) string {
	return [...]string{processorFile, secondFile}[place]
}

// CLIPProcessor returns the processor of OpenAI's CLIP models for images of size × size.
func CLIPProcessor(size int) *Processor {
	return &Processor{
		Size: size, Edge: size, Filter: bicubic, Rescale: 1.0 / 255,
		Mean: [3]float64{0.48145466, 0.4578275, 0.40821073},
		Std:  [3]float64{0.26862954, 0.26130258, 0.27577711},
	}
}

// SigLIPProcessor returns the processor of Google's SigLIP models for images of size × size.
func SigLIPProcessor(size int) *Processor {
	half := [3]float64{0.5, 0.5, 0.5}
	return &Processor{Size: size, Filter: bicubic, Rescale: 1.0 / 255, Mean: half, Std: half}
}

// DINOv2Processor returns the processor of Meta's DINOv2 models (BitImageProcessor) for images of size × size: the
// shorter side becomes an eighth longer before the crop, as in the published 256 to 224.
func DINOv2Processor(size int) *Processor {
	p := &Processor{
		Size: 224, Edge: 256, Filter: bicubic, Rescale: 1.0 / 255,
		Mean: [3]float64{0.485, 0.456, 0.406}, Std: [3]float64{0.229, 0.224, 0.225},
	}
	return p.Resized(size)
}

// Resized is p for images of another size, of which it keeps the same part.
func (p *Processor) Resized(size int) *Processor {
	resized := *p
	resized.Size = size
	if p.Edge > 0 {
		resized.Edge = max(size, min((p.Edge*size+p.Size/2)/p.Size, maxImageSize))
	}
	return &resized
}

// Showing is p for images that show the same part of a picture as another processor's, at p's own size: squeezed or
// cropped as those are.
func (p *Processor) Showing(other *Processor) *Processor {
	same := *p
	if same.Edge = 0; other.Edge > 0 {
		same.Edge = max(p.Size, min((other.Edge*p.Size+other.Size/2)/other.Size, maxImageSize))
	}
	return &same
}

// OpenProcessor reads the preprocessor_config.json of a folder or, if it has none, the image settings in its
// processor_config.json. The error wraps fs.ErrNotExist if neither exists: the tower's usual processor may then be
// suitable. Settings that would change the result and are not implemented are refused by key. In the folder of a model
// with two towers, place 1 is the second one's.
func OpenProcessor(dir string, place int) (_ *Processor, err error) {
	defer failure.MarkInput(&err)
	path := filepath.Join(dir, ProcessorFile(place))
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && place == 0 {
		path = filepath.Join(dir, nestedFile)
		text, err = readNested(path)
	}
	if err != nil {
		return nil, fmt.Errorf("image processor: %w", err)
	}
	p, err := parseProcessor(text)
	if err != nil {
		return nil, fmt.Errorf("image processor %q: %w", path, err)
	}
	return p, nil
}

// readNested returns the image settings of a processor_config.json. Before transformers 5 the file had none.
func readNested(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var config struct {
		Image json.RawMessage `json:"image_processor"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	if len(config.Image) == 0 || string(config.Image) == "null" {
		return nil, fmt.Errorf("%q has no image_processor: %w", path, fs.ErrNotExist)
	}
	return config.Image, nil
}

// processorConfig holds the keys of preprocessor_config.json that change pixels; other keys are ignored.
type processorConfig struct {
	Resize     *bool     `json:"do_resize"`
	CenterCrop *bool     `json:"do_center_crop"`
	Rescale    *bool     `json:"do_rescale"`
	Normalize  *bool     `json:"do_normalize"`
	ConvertRGB *bool     `json:"do_convert_rgb"`
	Resample   *int      `json:"resample"`
	Factor     *float64  `json:"rescale_factor"`
	Mean       []float64 `json:"image_mean"`
	Std        []float64 `json:"image_std"`
	Size       *extent   `json:"size"`
	CropSize   *extent   `json:"crop_size"`
}

// extent is a size as Hugging Face writes it: a number, {"shortest_edge": n} or {"height": n, "width": n}.
type extent struct {
	Edge, Height, Width int
}

func (e *extent) UnmarshalJSON(text []byte) error {
	if json.Unmarshal(text, &e.Edge) == nil {
		return nil
	}
	var keys struct {
		Edge   int `json:"shortest_edge"`
		Height int `json:"height"`
		Width  int `json:"width"`
	}
	if err := json.Unmarshal(text, &keys); err != nil {
		return fmt.Errorf(`%s is not a number, {"shortest_edge": n} or {"height": n, "width": n}`, text)
	}
	*e = extent(keys)
	if square := e.Height > 0 && e.Height == e.Width; (e.Edge > 0) == square {
		return fmt.Errorf(`%s is not supported: give {"shortest_edge": n} or equal "height" and "width"`, text)
	}
	return nil
}

func parseProcessor(text []byte) (*Processor, error) {
	var c processorConfig
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, err
	}
	if err := c.refuse(); err != nil {
		return nil, err
	}
	resized := max(c.Size.Edge, c.Size.Height)
	p := &Processor{Size: resized, Edge: c.Size.Edge, Filter: bicubic, Mean: [3]float64(c.Mean), Std: [3]float64(c.Std),
		Rescale: 1.0 / 255}
	if c.CropSize != nil && (c.CenterCrop == nil || *c.CenterCrop) {
		p.Size = max(c.CropSize.Edge, c.CropSize.Height)
	}
	if c.Resample != nil {
		p.Filter = *c.Resample
	}
	if c.Factor != nil {
		p.Rescale = *c.Factor
	}
	switch {
	case p.Size < 1 || resized > maxImageSize:
		return nil, fmt.Errorf("size %d and crop_size %d must be from 1 to %d", resized, p.Size, maxImageSize)
	case p.Size > resized || p.Edge == 0 && p.Size != resized:
		return nil, fmt.Errorf("crop_size %d does not fit size %d: it must be at most as large, "+
			"and equal to a size given by height and width", p.Size, resized)
	}
	return p, nil
}

// refuse reports the first key that asks for something other than resize, centre crop, rescale, normalise.
func (c processorConfig) refuse() error {
	for _, step := range []struct {
		key string
		on  *bool
	}{
		{"do_resize", c.Resize}, {"do_rescale", c.Rescale},
		{"do_normalize", c.Normalize}, {"do_convert_rgb", c.ConvertRGB},
	} {
		if step.on != nil && !*step.on {
			return fmt.Errorf("%s false is not supported: it must be true or absent", step.key)
		}
	}
	for _, list := range []struct {
		key    string
		values []float64
	}{{"image_mean", c.Mean}, {"image_std", c.Std}} {
		if len(list.values) != 3 {
			return fmt.Errorf("%s has %d values; it takes one for each of red, green, blue", list.key, len(list.values))
		}
	}
	switch {
	case c.Size == nil:
		return errors.New("size is missing")
	case c.CenterCrop != nil && !*c.CenterCrop && c.Size.Edge > 0:
		return errors.New("do_center_crop false is not supported with a size by the shorter edge")
	case c.Resample != nil && *c.Resample != bicubic && *c.Resample != bilinear:
		return fmt.Errorf("resample %d is not supported: it must be %d (bicubic) or %d (bilinear)",
			*c.Resample, bicubic, bilinear)
	case c.Factor != nil && *c.Factor <= 0:
		return fmt.Errorf("rescale_factor %g must be positive", *c.Factor)
	case min(c.Std[0], c.Std[1], c.Std[2]) <= 0:
		return fmt.Errorf("image_std %v must be positive", c.Std)
	case min(c.Mean[0], c.Mean[1], c.Mean[2]) < 0 || max(c.Mean[0], c.Mean[1], c.Mean[2]) > 1:
		return fmt.Errorf("image_mean %v must be from 0 to 1", c.Mean)
	}
	return nil
}

// JSON returns the preprocessor_config.json that OpenProcessor and Hugging Face read back as p.
func (p *Processor) JSON() []byte { return p.config(nil) }

// PaddingJSON is JSON for the image processor of transformers' LLaVA, which pads images to squares first, as Prepare
// does with the aspect "pad".
func (p *Processor) PaddingJSON() []byte {
	return p.config(map[string]any{
		"image_processor_type": "LlavaImageProcessor", "do_pad": true, "do_center_crop": p.Edge > 0,
		"crop_size": map[string]int{"height": p.Size, "width": p.Size},
	})
}

// TilesJSON is JSON for the image processors of transformers' LLaVA-NeXT and LLaVA-OneVision, named by kind, which cut
// images as t says.
func (p *Processor) TilesJSON(kind string, t *Tiling) []byte {
	pairs := make([][2]int, len(t.Pinpoints))
	for i, pinpoint := range t.Pinpoints {
		pairs[i] = [2]int{pinpoint.Height, pinpoint.Width}
	}
	more := map[string]any{"image_processor_type": kind, "do_pad": true, "image_grid_pinpoints": pairs}
	square := map[string]int{"height": t.Edge, "width": t.Edge}
	if kind == "LlavaNextImageProcessor" {
		more["do_center_crop"], more["crop_size"] = p.Edge > 0, square
	} else {
		more["do_center_crop"], more["crop_size"], more["size"] = false, nil, square
	}
	return p.config(more)
}

func (p *Processor) config(more map[string]any) []byte {
	square := map[string]int{"height": p.Size, "width": p.Size}
	config := map[string]any{
		"image_processor_type": "SiglipImageProcessor",
		"do_resize":            true, "size": square, "resample": p.Filter,
		"do_rescale": true, "rescale_factor": p.Rescale,
		"do_normalize": true, "image_mean": p.Mean, "image_std": p.Std,
		"do_convert_rgb": true,
	}
	if p.Edge > 0 {
		config["image_processor_type"], config["size"] = "CLIPImageProcessor", map[string]int{"shortest_edge": p.Edge}
		config["do_center_crop"], config["crop_size"] = true, square
	}
	maps.Copy(config, more)
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		panic(err) // a NaN or infinity, which no constructor lets in
	}
	return append(text, '\n')
}

// Table returns the normalised value of every pixel value: entry 256c+v is value v of channel c. It is bit for bit what
// the reference computes: v·rescale in float64, rounded to float32; then (x − mean) / std in float32.
func (p *Processor) Table() [3 * 256]float32 {
	var table [3 * 256]float32
	for c := range 3 {
		mean, std := float32(p.Mean[c]), float32(p.Std[c])
		for v := range 256 {
			table[256*c+v] = (float32(float64(v)*p.Rescale) - mean) / std
		}
	}
	return table
}

// Prepare returns img as [3,S,S], channel first, not yet normalised. Aspect "pad" first centres it on a square of the
// mean colour (LLaVA's expand2square); "square" does not, and everything outside the centre square is lost.
func (p *Processor) Prepare(img *RGB, aspect string) []uint8 {
	width, height := img.W, img.H
	var padding [3]uint8
	if aspect == "pad" {
		width, height = max(img.W, img.H), max(img.W, img.H)
		for c := range padding {
			padding[c] = uint8(p.Mean[c] * 255)
		}
	}
	columns, rows := p.resized(width, height)
	columns.start, columns.pixels = (width-img.W)/2, img.W
	rows.start, rows.pixels = (height-img.H)/2, img.H
	return resize(img, columns, rows, padding)
}

// resized says how an image of width × height is resized and cropped; the longer side is rounded down, as is the
// crop's offset.
func (p *Processor) resized(width, height int) (columns, rows axis) {
	w, h := p.Size, p.Size
	switch {
	case p.Edge > 0 && width <= height:
		w, h = p.Edge, p.Edge*height/width
	case p.Edge > 0:
		w, h = p.Edge*width/height, p.Edge
	}
	columns = axis{bilinear: p.Filter == bilinear, length: width, resized: w, from: (w - p.Size) / 2, count: p.Size}
	rows = axis{bilinear: p.Filter == bilinear, length: height, resized: h, from: (h - p.Size) / 2, count: p.Size}
	return columns, rows
}

// Picture is an image as one or more tiles of the tower's size, before normalisation.
type Picture struct {
	Pixels        []uint8 // [tiles,3,S,S], channel first; for two towers [tiles,3*S1*S1+3*S2*S2], both tower by tower
	Width, Height int     // of the decoded image, before any resizing
	Layout        Layout  // zero until the sample is encoded
}

// Positions is how many positions the image takes in a sample.
func (p Picture) Positions() int { return p.Layout.Positions() }
