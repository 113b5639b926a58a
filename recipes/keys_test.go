package recipes

import (
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestKeys makes a new key a deliberate act: it has to be added to the golden as well (go test ./recipes -run Keys
// -update), to the shipped llava-* recipes (TestShippedIsComplete), and to the documentation of recipes.
func TestKeys(t *testing.T) {
	const golden = "testdata/keys.golden"
	got := strings.Join(keys(reflect.TypeFor[Recipe](), ""), "\n") + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// keys lists the dotted paths of all values below a type. 0 stands for every entry of a list.
func keys(typ reflect.Type, path string) []string {
	var all []string
	switch typ.Kind() {
	case reflect.Pointer:
		return keys(typ.Elem(), path)
	case reflect.Slice:
		return keys(typ.Elem(), path+".0")
	case reflect.Map:
		for _, part := range partNames {
			all = append(all, keys(typ.Elem(), path+"."+part)...)
		}
	case reflect.Struct:
		for i := range typ.NumField() {
			if key, _, _ := strings.Cut(typ.Field(i).Tag.Get("yaml"), ","); key != "-" {
				all = append(all, keys(typ.Field(i).Type, strings.TrimPrefix(path+"."+key, "."))...)
			}
		}
	default:
		return []string{path}
	}
	return all
}
