package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// The names of the learned newline in our files and in transformers'.
const (
	newlineName   = "model.image_newline"
	nestedNewline = "image_newline"
)

// declareNewline declares the vector that stands behind each row of an image's map, [D], where the tiles are merged
// with one. It starts as in LLaVA-NeXT (llava/model/llava_arch.py). It belongs to the projector's part: the originals
// neither train it in stage 1 nor save it beside the projector, so that a run that merges with newlines there trains
// against one random vector and then draws another.
func (m *LLaVA) declareNewline() {
	if m.configs.tiles != nil && m.configs.tiles.Merge == recipes.MergeSpatialUnpad {
		width := m.Language.Describe().HiddenSize
		m.newline = m.Params.Root(recipes.PartProjector, "model.").
			Param("image_newline", normal(1/math.Sqrt(float64(width))), width)
	}
}

// noteNewline says that the projector's file has no newline.
func (m *LLaVA) noteNewline(plan []assignment, ss *sources) {
	projector := ss.parts[recipes.PartProjector]
	for _, a := range plan {
		if a.param == m.newline && a.weights == nil && projector != nil {
			m.Notes = append(m.Notes,
				fmt.Sprintf("%s has no image_newline: it is drawn from the seed", projector.where))
		}
	}
}

// TilesOf is how a model cuts images into tiles: as the recipe says or, if it does not, as the LLaVA folder that the
// language model's weights are from. nil: it does not.
func TilesOf(m recipes.Model) (_ *recipes.Tiles, err error) {
	defer failure.MarkInput(&err)
	if m.Tiles != nil || m.Language.Weights == "" {
		return m.Tiles, nil
	}
	dir, _, err := LanguageFolder(m.Language)
	if err != nil {
		return nil, nil // reported where the weights are opened
	}
	raw, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil, nil // likewise
	}
	c, err := parseWhole(raw)
	if err != nil || !c.isWhole() {
		return nil, err
	}
	tiles, err := c.tiles(dir)
	if err != nil {
		return nil, fmt.Errorf("model.language.weights: %w", err)
	}
	return tiles, nil
}

// tilesConfig is the part of a LLaVA's config.json that says how images become tiles.
type tilesConfig struct {
	Pinpoints json.RawMessage `json:"image_grid_pinpoints"`
	Merge     string          `json:"mm_patch_merge_type"`
	Several   string          `json:"image_several"`       // ours
	Limit     string          `json:"vision_aspect_ratio"` // transformers' LLaVA-OneVision
}

// anyresForm is the value of image_aspect_ratio for tiles.
var anyresForm = regexp.MustCompile(`^anyres(?:_max_([0-9]{1,4}))?$`)

// transformers' model types of a LLaVA with tiles, which it merges with newlines.
const (
	nextType      = "llava_next"
	onevisionType = "llava_onevision"
)

// nextPinpoints is the list of transformers' LlavaNextConfig, (height, width).
const nextPinpoints = "[[336,672],[672,336],[672,672],[1008,336],[336,1008]]"

// tiles reads a configuration in any layout; dir is its folder. A model that merges with newlines and is used with
// whole images has no pinpoints.
func (c wholeConfig) tiles(dir string) (*recipes.Tiles, error) {
	t := &recipes.Tiles{Merge: orDefault(c.Merge, recipes.MergeFlat), Several: orDefault(c.Several, "pad")}
	aspect := c.Aspect
	switch c.ModelType {
	case nextType:
		t.Merge, aspect = recipes.MergeSpatialUnpad, "anyres"
	case onevisionType:
		t.Merge, aspect = recipes.MergeSpatialUnpad, orDefault(c.Limit, "anyres_max_9")
	}
	if err := checkMerge(t.Merge); err != nil {
		return nil, err
	}
	form := anyresForm.FindStringSubmatch(aspect)
	switch {
	case form == nil && strings.HasPrefix(aspect, "anyres"):
		return nil, fmt.Errorf("config.json asks for tiles by %q; only anyres and anyres_max_N are supported", aspect)
	case form == nil && t.Merge != recipes.MergeSpatialUnpad:
		return nil, nil // an image is one tile, and takes a position for each of its features
	case form == nil:
		return t, nil
	case t.Merge == recipes.MergeSpatialUnpad:
		t.Max, _ = strconv.Atoi(form[1])
	}
	var err error
	if t.Pinpoints, err = c.pinpoints(dir); err != nil {
		return nil, err
	}
	return t, nil
}

// checkMerge refuses the rarer ways in which LLaVA-NeXT merges tiles.
func checkMerge(merge string) error {
	if slices.Contains(recipes.Merges, merge) {
		return nil
	}
	return fmt.Errorf("config.json has mm_patch_merge_type %q; only %s are supported", merge,
		strings.Join(recipes.Merges, ", "))
}

// pinpoints are the configuration's, as (width, height): transformers' layout has (height, width).
func (c wholeConfig) pinpoints(dir string) (recipes.Pinpoints, error) {
	text := c.Pinpoints
	if len(text) == 0 || string(text) == "null" {
		switch c.ModelType {
		case nextType:
			text = json.RawMessage(nextPinpoints)
		case onevisionType:
			return "(1x1),...,(6x6)", nil
		default:
			return "", errors.New("config.json has image_aspect_ratio anyres, but no image_grid_pinpoints")
		}
	}
	if err := c.agree(dir, text); err != nil {
		return "", err
	}
	var form string
	if json.Unmarshal(text, &form) == nil {
		return recipes.Pinpoints(strings.Join(strings.Fields(form), "")), nil
	}
	var pairs [][2]int
	if err := json.Unmarshal(text, &pairs); err != nil {
		return "", fmt.Errorf("config.json has image_grid_pinpoints %.100s; "+
			"it must be a list of pairs of sizes, or text such as (1x1),...,(6x6)", text)
	}
	if c.nested() {
		for i, pair := range pairs {
			pairs[i] = [2]int{pair[1], pair[0]}
		}
	}
	list, err := json.Marshal(pairs)
	return recipes.Pinpoints(list), err
}

// agree refuses a folder whose image processor has another list of pinpoints than its model, or another limit:
// transformers uses the one for pixels and the other for positions, and fails at the first image.
func (c wholeConfig) agree(dir string, pinpoints json.RawMessage) error {
	for _, file := range []string{"preprocessor_config.json", "processor_config.json"} {
		var processor struct {
			Pinpoints json.RawMessage `json:"image_grid_pinpoints"`
			Limit     string          `json:"vision_aspect_ratio"`
			Image     struct {
				Pinpoints json.RawMessage `json:"image_grid_pinpoints"`
			} `json:"image_processor"`
		}
		raw, err := os.ReadFile(filepath.Join(dir, file))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		}
		if err := json.Unmarshal(raw, &processor); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for _, other := range []json.RawMessage{processor.Pinpoints, processor.Image.Pinpoints} {
			if len(other) > 0 && string(other) != "null" && !equalJSON(other, pinpoints) {
				return fmt.Errorf("config.json has image_grid_pinpoints %.100s and %s has %.100s: "+
					"set both to the list that the model was trained with", pinpoints, file, other)
			}
		}
		limit := orDefault(c.Limit, "anyres_max_9")
		if c.ModelType == onevisionType && processor.Limit != "" && processor.Limit != limit {
			return fmt.Errorf("config.json has vision_aspect_ratio %q and %s has %q: set both to the one that the "+
				"model was trained with", limit, file, processor.Limit)
		}
	}
	return nil
}

// equalJSON compares two texts but for their white space.
func equalJSON(a, b json.RawMessage) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}
