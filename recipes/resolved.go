package recipes

import (
	"bytes"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Resolved is the recipe as YAML with every default written out and every path absolute, so that it means the same in
// any folder: loading it gives an equal Recipe (except for Path).
func (r *Recipe) Resolved() ([]byte, error) {
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(r); err != nil {
		return nil, fmt.Errorf("recipe %q: %w", r.Path, err)
	}
	return text.Bytes(), nil
}

// Digest lists the settings that change the numbers of a stage, by dotted key: the model, the seed, the dtype and the
// stage. Two runs with equal digests, data and weights compute the same. It leaves out keys that change no number
// (name, runs, save, eval), threads, workers and device, whose effect only the trainer knows, and paths, because only
// the contents matter.
func (r *Recipe) Digest(stage string) map[string]string {
	var tree yaml.Node
	if err := tree.Encode(r); err != nil {
		panic(err) // this cannot fail: a Recipe holds nothing that YAML cannot express
	}
	flat := map[string]string{}
	for i := 0; i < len(tree.Content); i += 2 {
		switch key := tree.Content[i].Value; key {
		case "model", "seed", "dtype", stage:
			flatten(tree.Content[i+1], key, flat)
		}
	}
	maps.DeleteFunc(flat, func(key, _ string) bool { return strings.HasPrefix(key, stage+".eval.") })
	delete(flat, stage+".save.every")
	delete(flat, stage+".save.keep")
	for key, usual := range map[string]string{"orientation": "ignore", "max_pixels": strconv.Itoa(UsualMaxPixels)} {
		if key = stage + "." + key; flat[key] == usual { // runs from before the key do not have it
			delete(flat, key)
		}
	}
	if policy, ok := flat[stage+".bad_samples.policy"]; ok { // the limit changes no number: as without it
		flat[stage+".bad_samples"] = policy
		delete(flat, stage+".bad_samples.policy")
		delete(flat, stage+".bad_samples.limit")
	}
	for _, p := range r.paths() {
		delete(flat, p.key)
	}
	return flat
}

// flatten adds the values below n to flat.
func flatten(n *yaml.Node, path string, flat map[string]string) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			flatten(n.Content[i+1], path+"."+n.Content[i].Value, flat)
		}
	case yaml.SequenceNode:
		for i, entry := range n.Content {
			flatten(entry, path+"."+strconv.Itoa(i), flat)
		}
	default:
		flat[path] = n.Value
	}
}
