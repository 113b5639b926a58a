package input

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
)

// openProcessors opens the image processor of each tower. Patch by patch the features of two towers stand side by side,
// so the second tower sees what the first does: its processor keeps its size, filter and normalisation, and squeezes or
// crops a picture as the first one's does.
func openProcessors(v recipes.Vision, tower model.TowerShape) (list []*picture.Processor, err error) {
	places, err := model.ProcessorPlaces(v)
	if err != nil {
		return nil, err
	}
	for i, shape := range tower.Each() {
		p, err := openProcessor(places[i], shape)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", recipes.TowerKey(i, len(places)), err)
		}
		if i > 0 {
			p = p.Showing(list[0])
		}
		list = append(list, p)
	}
	return list, nil
}

// openProcessor reads the image processor's constants from the tower's folder, or takes the tower's usual ones if the
// folder has none. A tower that can run at several sizes may make it make others than its file says.
func openProcessor(at model.ProcessorPlace, tower model.TowerShape) (*picture.Processor, error) {
	if at.Dir != "" {
		p, err := picture.OpenProcessor(at.Dir, at.Place)
		if err == nil && tower.Resizes {
			p = p.Resized(int(tower.ImageSize))
		}
		if err == nil && int64(p.Size) != tower.ImageSize {
			err = fmt.Errorf("the image processor of %q makes images of %d pixels a side, config.json wants %d",
				at.Dir, p.Size, tower.ImageSize)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return p, err
		}
	}
	usual := map[string]func(size int) *picture.Processor{"clip": picture.CLIPProcessor,
		"siglip": picture.SigLIPProcessor, "dinov2": picture.DINOv2Processor}
	return usual[tower.Processor](int(tower.ImageSize)), nil
}

// Normalization is the normalised value of each pixel level of each channel, for each tower: [towers*3*256].
func (p *Preprocessor) Normalization() (table []float32) {
	for _, processor := range p.Processors {
		own := processor.Table()
		table = append(table, own[:]...)
	}
	return table
}

// Picture prepares a decoded image for each tower. aspect is square, pad or anyres; with anyres the image becomes the
// tiles of its size or, if it is one of several images of a row, perhaps one. Two towers get the same tiles, each at
// its own size.
func (p *Preprocessor) Picture(decoded *picture.RGB, aspect string, several bool) picture.Picture {
	layout := picture.Layout{}
	if aspect == recipes.AnyResolution && p.Tiling != nil {
		size := func() (width, height int, err error) { return decoded.W, decoded.H, nil }
		layout, _ = p.Tiling.Of(several, size) // which returns only size's error
	}
	var each [][]uint8 // [tiles,3,S,S] of each tower
	for _, processor := range p.Processors {
		if aspect == recipes.AnyResolution && p.Tiling != nil {
			own := layout.WithEdge(processor.Size, decoded.W, decoded.H)
			each = append(each, processor.PrepareTiles(decoded, own))
		} else {
			each = append(each, processor.Prepare(decoded, aspect))
		}
	}
	return picture.Picture{Width: decoded.W, Height: decoded.H, Pixels: byTile(each, layout.Tiles())}
}

// byTile puts the pixels of two towers behind each other tile by tile.
func byTile(each [][]uint8, tiles int) (pixels []uint8) {
	if len(each) == 1 {
		return each[0]
	}
	pixels = make([]uint8, 0, len(each[0])+len(each[1]))
	for tile := range tiles {
		for _, own := range each {
			size := len(own) / tiles
			pixels = append(pixels, own[tile*size:][:size]...)
		}
	}
	return pixels
}
