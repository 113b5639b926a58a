package recipes

import (
	"errors"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Settings are the projector's settings without its type and weights, by their keys; nil if it has none. They are what
// a model's folder records of it.
func (p Projector) Settings() map[string]any {
	var settings map[string]any
	p.Type, p.Weights = "", ""
	text, err := yaml.Marshal(p)
	if err == nil {
		err = yaml.Unmarshal(text, &settings)
	}
	if err != nil {
		panic(err) // a Projector holds nothing that YAML cannot express
	}
	delete(settings, "type")
	if len(settings) == 0 {
		return nil
	}
	return settings
}

// ParseProjector reads a type and its settings, as JSON or YAML, by the rules of recipes; none are the defaults.
func ParseProjector(kind string, settings []byte) (p Projector, err error) {
	d := newDecoder("")
	root := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	if len(settings) > 0 {
		if root = d.parse(settings, location{}); root == nil {
			return p, failure.Input(errors.New("settings of the projector are no section with keys"))
		}
	}
	d.value(root, reflect.ValueOf(&p).Elem(), "model.projector", location{})
	p.Type = kind
	d.checkProjector(&p)
	if len(d.problems) > 0 {
		return p, failure.Inputf("settings of the projector %s: %s: %s", kind,
			strings.TrimPrefix(d.problems[0].Path, "model.projector."), d.problems[0].Message)
	}
	return p, nil
}
