package recipes

import (
	"iter"
	"reflect"
	"strconv"

	"gopkg.in/yaml.v3"
)

// Towers lists the towers: one, or two whose features stand side by side.
func (v Vision) Towers() []Vision {
	if v.Second == nil {
		return []Vision{v}
	}
	first := v
	first.Second = nil
	return []Vision{first, *v.Second}
}

// From is the towers with other weights: each is the one of a folder with all of them.
func (v Vision) From(folder string) Vision {
	v.Weights, v.Config = folder, ""
	if v.Second != nil {
		second := v.Second.From(folder)
		v.Second = &second
	}
	return v
}

// TowerKey is the key of a tower among those of a model, from 0: model.vision, or that of an entry of a list of two.
func TowerKey(tower, of int) string {
	if of == 1 {
		return "model.vision"
	}
	return "model.vision." + strconv.Itoa(tower)
}

// each gives the towers with their keys.
func (v *Vision) each() iter.Seq2[string, *Vision] {
	return func(yield func(string, *Vision) bool) {
		switch {
		case v.Second == nil:
			yield(TowerKey(0, 1), v)
		case yield(TowerKey(0, 2), v):
			yield(TowerKey(1, 2), v.Second)
		}
	}
}

// MarshalYAML writes one tower as a mapping and two as a list.
func (v Vision) MarshalYAML() (any, error) {
	type mapping Vision // without this method
	if v.Second == nil {
		return mapping(v), nil
	}
	return []mapping{mapping(v), mapping(*v.Second)}, nil
}

// towers decodes a list of one or two towers; one is the same as a mapping.
func (d *decoder) towers(n *yaml.Node, v *Vision, path string, at location) {
	const most = 2
	if len(n.Content) == 0 || len(n.Content) > most {
		d.fail(path, at, "lists %d towers; a model has one, or two whose features are joined", len(n.Content))
		return
	}
	list := make([]Vision, len(n.Content))
	for i, entry := range n.Content {
		at := at.on(entry.Line)
		if set, ok := d.sets[entry]; ok {
			at = set
		}
		key := path
		if len(list) > 1 {
			key += "." + strconv.Itoa(i)
		}
		if entry.Kind == yaml.SequenceNode {
			d.fail(key, at, "expected a section with keys, found %s", kind(entry))
			continue
		}
		d.value(entry, reflect.ValueOf(&list[i]).Elem(), key, at)
	}
	if *v = list[0]; len(list) > 1 {
		v.Second = &list[1]
	}
}

func (d *decoder) checkTowers(v Vision) {
	for at, tower := range v.each() {
		d.start(at)
		d.oneOf(at+".select_feature", tower.SelectFeature, "patch", "cls_patch")
		d.rule(at+".select_feature", v.Second == nil || tower.SelectFeature != "cls_patch",
			"must be patch for each of two towers: their features are joined row by row, and a class token is a row "+
				"that the other tower may not have")
		d.rule(at+".image_size", tower.ImageSize >= 1 && tower.ImageSize <= 4096, "must be from 1 to 4096")
	}
}
