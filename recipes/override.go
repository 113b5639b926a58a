package recipes

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// rivals are keys of one section that exclude each other.
var rivals = map[string]string{
	"weights": "config", "config": "weights",
	"epochs": "steps", "steps": "epochs",
	"micro": "tokens", "tokens": "micro",
}

// override puts the value of one --set, KEY=VALUE, into the tree, where the decoder treats it like the file's own.
// Missing sections are added; the decoder checks whether the keys exist.
func (d *decoder) override(root *yaml.Node, assignment string) {
	key, value, ok := strings.Cut(assignment, "=")
	at := location{source: "--set " + key, set: true}
	if key == "" || !ok || !oneLine(key) {
		d.report("", location{source: "--set", set: true}, "expected KEY=VALUE, found %s", quoted(assignment))
		return
	}
	leaf := d.parse([]byte(value), at)
	if leaf == nil {
		return
	}
	d.sets[leaf] = at
	names := strings.Split(key, ".")
	section, within := root, "" // the earlier --set that gave the section
	for i, name := range names {
		if earlier, ok := d.sets[section]; ok {
			within = earlier.source
		}
		slot := d.slot(section, name, strings.Join(names[:i], "."), at)
		switch {
		case slot == nil:
			return
		case i == len(names)-1:
			if earlier := cmp.Or(d.giver(*slot), within); *slot != nil && earlier != "" {
				d.fail(key, at, "%s has given this already; leave one of the two out", earlier)
				return
			}
			*slot = leaf
			d.dropRival(section, name)
		case *slot == nil:
			*slot = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
			d.sets[*slot] = at
		}
		section = *slot
	}
}

// giver is the --set that gave a value or something within it, "" if none did.
func (d *decoder) giver(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	if at, ok := d.sets[n]; ok {
		return at.source
	}
	for _, part := range n.Content {
		if by := d.giver(part); by != "" {
			return by
		}
	}
	return ""
}

// slot points to a key's value in a section, which is added if missing, or to an entry of a list. It is nil after a
// problem.
func (d *decoder) slot(n *yaml.Node, name, path string, at location) **yaml.Node {
	switch n.Kind {
	case yaml.MappingNode:
		if i := find(n, name); i >= 0 {
			return &n.Content[i+1]
		}
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, nil)
		return &n.Content[len(n.Content)-1]
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(n.Content) {
			return &n.Content[i]
		}
		d.fail(path, at, "has %d entries, numbered from 0; there is no entry %s", len(n.Content), quoted(name))
	default:
		d.fail(path, at, "holds %s, which has no keys", kind(n))
	}
	return nil
}

// dropRival removes the key that excludes name, unless it was set too.
func (d *decoder) dropRival(section *yaml.Node, name string) {
	if section.Kind != yaml.MappingNode {
		return
	}
	i := find(section, rivals[name])
	if i < 0 {
		return
	}
	if _, set := d.sets[section.Content[i+1]]; !set {
		section.Content = slices.Delete(section.Content, i, i+2)
	}
}

// find returns the index of a key in a mapping's content, -1 if it is missing.
func find(section *yaml.Node, name string) int {
	for i := 0; i < len(section.Content); i += 2 {
		if section.Content[i].Value == name && section.Content[i].Kind == yaml.ScalarNode {
			return i
		}
	}
	return -1
}
