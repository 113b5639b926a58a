package model

import (
	"fmt"

	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// towerKind is a kind of vision tower.
type towerKind struct {
	build      func(config []byte, root nn.Path, selected TowerSelect) (Tower, error)
	resizes    bool     // runs at any multiple of the patch, not only at config.json's image_size
	classToken bool     // the first row is a class token, which transformers' LLaVA drops by the strategy default
	layer      string   // a parameter of each layer; %d is the layer's number
	norm       string   // the norm behind the last layer
	nested     spelling // in transformers' LLaVA
	noNested   string   // why transformers' LLaVA cannot hold it; "": it can
}

var (
	clipKind = towerKind{build: newCLIP, classToken: true, layer: "encoder.layers.%d.layer_norm1.weight",
		norm: "post_layernorm", nested: onDisk[recipes.PartVision]}
	sigLIPKind = towerKind{build: newSigLIP, layer: clipKind.layer, norm: clipKind.norm, nested: clipKind.nested}
	dinov2Kind = towerKind{build: newDINOv2, resizes: true, classToken: true, layer: "encoder.layer.%d.norm1.weight",
		norm: "layernorm", nested: bareTowerOnDisk[recipes.PartVision]}
	registersKind = towerKind{build: newDINOv2, resizes: true, classToken: true, layer: dinov2Kind.layer,
		norm: dinov2Kind.norm, noNested: "transformers' LLaVA drops only the first row of a tower, the class token, " +
			"so that the register tokens would be features"}
)

// otherTowers are kinds that are refused with a reason.
var otherTowers = map[string]string{
	"siglip2":              naFlex,
	"siglip2_vision_model": naFlex,
}

const naFlex = "is the NaFlex form of SigLIP 2, which takes images of any shape as lists of patches: " +
	"take a SigLIP 2 of one size, such as google/siglip2-so400m-patch14-384 (model_type siglip)"

// kindOf is the kind of tower in a configuration.
func kindOf(config []byte) (kind towerKind, err error) {
	name, err := modelType(config)
	if err != nil {
		return kind, err
	}
	if why, other := otherTowers[name]; other {
		return kind, fmt.Errorf("model_type %s %s", name, why)
	}
	return failure.LookUp("model_type", name, towers)
}

// newTower declares a tower's parameters under root.
func newTower(config []byte, root nn.Path, selected TowerSelect) (Tower, error) {
	kind, err := kindOf(config)
	if err != nil {
		return nil, err
	}
	if selected.ImageSize > 0 && !kind.resizes {
		name, _ := modelType(config)
		return nil, fmt.Errorf("image_size %d: a tower of model_type %s runs only at the image_size of its "+
			"config.json: leave %s.image_size out", selected.ImageSize, name, selected.Key)
	}
	return kind.build(config, root, selected)
}

// hasClassToken says whether the first row of the tower that a vision_config describes is a class token.
func hasClassToken(vision map[string]any) bool {
	kind, _ := vision["model_type"].(string)
	return towers[orDefault(kind, "clip")].classToken
}
