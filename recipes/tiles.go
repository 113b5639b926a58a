package recipes

import (
	"encoding/json"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// Tiles says how images of any resolution become tiles, and the tiles' features positions (LLaVA-1.6,
// LLaVA-OneVision).
type Tiles struct {
	Pinpoints Pinpoints `yaml:"pinpoints"`
	// M of the original's anyres_max_M: features beyond about M tiles' are made fewer by interpolation; 0: never
	Max     int    `yaml:"max,omitempty"`
	Merge   string `yaml:"merge"`   // flat | spatial | spatial_unpad
	Several string `yaml:"several"` // pad | tile: what becomes of the images of a row that has more than one
}

// What Tiles.Merge may be.
const (
	MergeFlat         = "flat"          // tile after tile
	MergeSpatial      = "spatial"       // the whole image, then the map that the other tiles form, by rows
	MergeSpatialUnpad = "spatial_unpad" // the same without the map's padding, with a newline behind each row
)

// Merges lists them.
var Merges = []string{MergeFlat, MergeSpatial, MergeSpatialUnpad}

// Pinpoints are the sizes in pixels that an image may be resized to, in one of two forms: "[[336,672],[672,336]]",
// pairs of width and height, or "(1x1),...,(6x6)", in tiles. A recipe may give the pairs as a list.
type Pinpoints string

// pairs is the form of a list, without white space.
var pairs = regexp.MustCompile(`^\[(\[[0-9]{1,6},[0-9]{1,6}\](,|\]$))+$`)

// Pairs are the widths and heights, if the pinpoints have that form.
func (p Pinpoints) Pairs() (list [][2]int, ok bool) {
	return list, json.Unmarshal([]byte(p), &list) == nil
}

// MarshalYAML writes pairs as a list.
func (p Pinpoints) MarshalYAML() (any, error) {
	if !pairs.MatchString(string(p)) {
		return string(p), nil
	}
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(p), &document); err != nil {
		return nil, err
	}
	return document.Content[0], nil
}

// pinpoints decodes either form.
func pinpoints(n *yaml.Node) (p Pinpoints, problem string) {
	const want = `expected pairs such as [[336, 672], [672, 336]] or text such as "(1x1),...,(6x6)"`
	if n.Kind == yaml.ScalarNode {
		text := strings.Join(strings.Fields(n.Value), "")
		if text == "" || n.Tag == "!!null" || !oneLine(text) || len(text) > 1<<16 {
			return "", want + ", found " + kind(n)
		}
		return Pinpoints(text), ""
	}
	if n.Kind != yaml.SequenceNode {
		return "", want + ", found " + kind(n)
	}
	var list []string
	for _, pair := range n.Content {
		if pair.Kind != yaml.SequenceNode || len(pair.Content) != 2 {
			return "", want + ", found an entry that is no pair"
		}
		for _, size := range pair.Content {
			if !isPlain(size) || !wholeNumber.MatchString(size.Value) || len(size.Value) > 6 || size.Value[0] == '-' {
				return "", want + ", found the size " + kind(size)
			}
		}
		list = append(list, "["+pair.Content[0].Value+","+pair.Content[1].Value+"]")
	}
	if len(list) == 0 {
		return "", want + ", found an empty list"
	}
	return Pinpoints("[" + strings.Join(list, ",") + "]"), ""
}

func (d *decoder) checkTiles(at string, t *Tiles) {
	d.required(at + ".pinpoints")
	d.rule(at+".max", 1 <= t.Max && t.Max <= 1024, "must be from 1 to 1024")
	d.oneOf(at+".merge", t.Merge, Merges...)
	d.oneOf(at+".several", t.Several, "pad", "tile")
	d.rule(at+".max", t.Merge == MergeSpatialUnpad, "is a limit of the merge spatial_unpad, not of %s", t.Merge)
}
