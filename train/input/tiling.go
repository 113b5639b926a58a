package input

import (
	"encoding/json"
	"fmt"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// newTiling is how a model's images are laid out; nil for a model without tiles, whose images are one tile each.
func newTiling(
	t *recipes.Tiles, tower model.TowerShape, projector model.ProjectorShape,
) (_ *picture.Tiling, err error) {
	defer failure.MarkInput(&err)
	if t == nil {
		return nil, nil
	}
	edge, side := int(tower.ImageSize), int(projector.Side)
	if side == 0 {
		side = int(tower.ImageSize / tower.PatchSize)
	}
	tiling := &picture.Tiling{Edge: edge, Side: side, Max: t.Max, Merge: picture.Merge(t.Merge),
		Features: int(projector.Tokens), TileAll: t.Several == "tile"}
	if t.Pinpoints == "" {
		return tiling, nil
	}
	if tiling.Pinpoints, err = parsePinpoints(t.Pinpoints, edge); err == nil {
		err = tiling.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("model.tiles: %w", err)
	}
	return tiling, nil
}

// MostTiles is the most tiles that an image of an aspect becomes.
func (p *Preprocessor) MostTiles(aspect string) int64 {
	most := 1
	if aspect == recipes.AnyResolution && p.Tiling != nil {
		for _, size := range p.Tiling.Pinpoints {
			most = max(most, 1+size.Width/p.Tiling.Edge*(size.Height/p.Tiling.Edge))
		}
	}
	return int64(most)
}

// Largest is the size of an image that takes the most positions of its aspect.
func (p *Preprocessor) Largest(aspect string) (width, height int) {
	width, height = 1, 1 // of images that are one tile any size takes as many
	if aspect != recipes.AnyResolution || p.Tiling == nil {
		return width, height
	}
	most := 0
	for _, size := range p.Tiling.Pinpoints { // an image of such a size has no padding that could be left out
		layout, _ := p.Tiling.Of(false, func() (int, int, error) { return size.Width, size.Height, nil })
		if n := layout.Positions(); n > most {
			most, width, height = n, size.Width, size.Height
		}
	}
	return width, height
}

func parsePinpoints(p recipes.Pinpoints, edge int) ([]picture.Pinpoint, error) {
	var pairs [][]int
	if json.Unmarshal([]byte(p), &pairs) == nil {
		return picture.PairPinpoints(pairs, edge)
	}
	return picture.ParsePinpoints(string(p), edge)
}
