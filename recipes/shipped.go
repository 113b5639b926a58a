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

// Shipped returns the text of the shipped recipe with this name.
func Shipped(name string) ([]byte, error) {
	text, err := shipped.ReadFile("shipped/" + name + ".yaml")
	if err != nil {
		return nil, failure.Inputf("recipe %q is not shipped; the shipped recipes are %s", name,
			strings.Join(Names(), ", "))
	}
	return text, nil
}
