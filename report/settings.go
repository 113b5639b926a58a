package report

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/report/page"
)

// setting is a value of a recipe by its dotted key.
type setting struct{ key, value string }

// readSettings lists the values of a recipe in its order. Any version's recipe is read, whatever keys it has.
func readSettings(text []byte) (list []setting, err error) {
	var tree yaml.Node
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	if len(tree.Content) != 1 || tree.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("it is not a recipe")
	}
	var visit func(n *yaml.Node, key string)
	visit = func(n *yaml.Node, key string) {
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				visit(n.Content[i+1], strings.TrimPrefix(key+"."+n.Content[i].Value, "."))
			}
		case yaml.SequenceNode:
			for i, entry := range n.Content {
				visit(entry, key+"."+strconv.Itoa(i))
			}
		default:
			list = append(list, setting{key, n.Value})
		}
	}
	visit(tree.Content[0], "")
	return list, nil
}

func valueOf(list []setting, key string) string {
	at := slices.IndexFunc(list, func(s setting) bool { return s.key == key })
	if at < 0 {
		return ""
	}
	return list[at].value
}

// settingKeys are the keys of all runs' recipes, in order, without those of stages that none of the runs is of.
func settingKeys(list []*Run) (keys []string) {
	known := map[string]bool{}
	for _, r := range list {
		for _, s := range r.settings {
			section, _, _ := strings.Cut(s.key, ".")
			foreign := slices.Contains(recipes.StageNames, section) &&
				!slices.ContainsFunc(list, func(r *Run) bool { return r.Stage == section })
			if !foreign && !known[s.key] {
				known[s.key] = true
				keys = append(keys, s.key)
			}
		}
	}
	return keys
}

// recipeSections show the recipe, and before it what differs between runs.
func recipeSections(list []*Run) (sections []page.Section) {
	var differing, all [][]string
	for _, key := range settingKeys(list) {
		row, differs := []string{key}, false
		for _, r := range list {
			value := valueOf(r.settings, key)
			differs = differs || value != valueOf(list[0].settings, key)
			row = append(row, value)
		}
		if all = append(all, row); differs {
			differing = append(differing, row)
		}
	}
	columns := []page.Column{{Title: "Key"}}
	for _, r := range list {
		title := r.label
		if len(list) == 1 {
			title = "Value"
		}
		columns = append(columns, page.Column{Title: title})
	}
	if len(list) > len(stagesOf(list)) { // the stages of one run share their recipe
		var shown page.Block = page.Text("The recipes are the same.")
		if differing != nil {
			shown = page.Table{Note: "An empty value: the recipe lacks the key.", Columns: columns, Rows: differing}
		}
		sections = append(sections, page.Section{Title: "Differences", Blocks: []page.Block{shown}})
	}
	return append(sections, page.Section{Title: "Recipe", Folded: true, Blocks: []page.Block{
		page.Table{Note: "With every default written out.", Columns: columns, Rows: all}}})
}
