package model

import (
	"fmt"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Tower turns images into rows of features.
type Tower interface {
	// Forward maps n images [n,3,S,S] to [n*Tokens,Dv]. keys has one key for each image. Two towers take the images at
	// the sizes of both end to end, [n,3*S1*S1+3*S2*S2].
	Forward(s *torch.Scope, pixels *torch.Tensor, keys nn.DropoutKeys) *torch.Tensor
	// Describe returns the sizes that other packages depend on.
	Describe() TowerShape
}

// TowerShape is the sizes of a tower that other packages depend on. Those of two joined towers are the first one's, but
// for HiddenSize and Second.
type TowerShape struct {
	HiddenSize       int64 // Dv, of both towers together
	ImageSize        int64 // S, pixels
	PatchSize        int64 // pixels
	Tokens           int64 // rows of features for each image
	Rows             int64 // rows in the layers for each image
	Layers           int64 // that run
	IntermediateSize int64
	LayerScales      int64  // outputs in each layer that are scaled and so kept for backward
	Processor        string // clip, siglip or dinov2: whose image processor settings apply if the folder has none
	Resizes          bool   // whether S may be other than config.json's image_size

	Second *TowerShape // the second tower's; nil: there is one
}

// grid is the number of patches along each side of an image.
func (t TowerShape) grid() int64 { return t.ImageSize / t.PatchSize }

// side is the side of the square grid that the features form; 0 with a class token.
func (t TowerShape) side() int64 {
	if side := t.grid(); side*side == t.Tokens {
		return side
	}
	return 0
}

// TowerSelect says which of a tower's hidden states are the features, like LLaVA's mm_vision_select_layer and
// mm_vision_select_feature, and of images of which size.
type TowerSelect struct {
	Layer   int    // index into the n+1 hidden_states of a tower of n layers; negative counts from the end
	Feature string // patch: without the class token; cls_patch: with it

	// The side of the images in pixels, for a tower that can run at several sizes: as the recipe asks, else as the
	// files say. 0: config.json's image_size.
	ImageSize, FilesSize int64

	Key string // of the recipe, for messages: model.vision, or of an entry of a list
}

// selectedBy is what a recipe and the tower's files select.
func selectedBy(v recipes.Vision, files towerFiles) TowerSelect {
	return TowerSelect{Layer: v.SelectLayer, Feature: v.SelectFeature, ImageSize: int64(v.ImageSize),
		FilesSize: files.imageSize, Key: files.key}
}

// layers is how many of a tower's n layers must run.
func (t TowerSelect) layers(n int) (int, error) {
	if t.Feature != "patch" && t.Feature != "cls_patch" {
		return 0, failure.NotOneOf("select_feature", t.Feature, []string{"patch", "cls_patch"})
	}
	run := t.Layer
	if run < 0 {
		run += n + 1
	}
	if run < 0 || run > n {
		return 0, fmt.Errorf("select_layer %d is outside the tower's %d layers (%d to %d)", t.Layer, n, -n-1, n)
	}
	return run, nil
}
