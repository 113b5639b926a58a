package recipes

import (
	"embed"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

//go:embed shipped/*.yaml
var shipped embed.FS

// Names lists the recipes that ship with the program, sorted.
func Names() []string {
	files, err := shipped.ReadDir("shipped")
	if err != nil {
		panic(err) // embedded
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = strings.TrimSuffix(f.Name(), ".yaml")
	}
	slices.Sort(names)
	return names
}

// Shipped is the text of the shipped recipe of that name.
func Shipped(name string) ([]byte, error) {
	text, err := shipped.ReadFile("shipped/" + name + ".yaml")
	if err != nil {
		return nil, failure.Inputf("recipe %q is not shipped; there are %s", name, strings.Join(Names(), ", "))
	}
	return text, nil
}
