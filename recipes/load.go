package recipes

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// A recipe may come from anywhere; real ones have a few kilobytes, and their deepest key is at level six.
const (
	maxBytes = 1 << 20
	maxDepth = 16
)

// Load reads a recipe and applies set, the values of --set: "pretrain.batch.global=64", the full dotted path, where a
// number is the index in a list ("pretrain.data.0.path=train.json"). A value set this way replaces the file's. Of two
// keys that exclude each other (weights and config, epochs and steps, micro and tokens) it also replaces the other one.
//
// Paths in the recipe are relative to its folder, and a leading ~ has no meaning. Afterwards, the weights of the tower
// and of the language model are an absolute path or, if they look like owner/name and the folder has no such file, a
// Hugging Face id for the caller to look up; ./owner/name is never an id.
//
// The error is Problems if the recipe is wrong, and wraps the system's error if the file cannot be read. Both are
// errors of input, unless the disk failed.
func Load(path string, set []string) (r *Recipe, err error) {
	defer failure.MarkInput(&err)
	text, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("recipe: %w", err)
	}
	return load(path, text, set)
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxBytes+1))
}

// load is Load, given the file's text.
func load(path string, text []byte, set []string) (*Recipe, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("recipe: %w", err)
	}
	if !oneLine(abs) {
		return nil, fmt.Errorf("recipe: path %q holds control characters or is not UTF-8; move the file", abs)
	}
	d := newDecoder(path)
	r := newRecipe(abs)
	d.decode(r, text, set)
	if len(d.problems) > 0 {
		return nil, d.problems.sorted()
	}
	r.absolute(filepath.Dir(abs))
	return r, nil
}

// decode fills the recipe from the file's text and the values of --set, and checks it.
func (d *decoder) decode(r *Recipe, text []byte, set []string) {
	at := d.where[""]
	root := d.parse(text, at)
	if root == nil {
		return
	}
	for _, assignment := range set {
		d.override(root, assignment)
	}
	if n := deeper(root, maxDepth); n != nil {
		d.fail("", at.on(n.Line), "nested deeper than %d levels", maxDepth)
		return
	}
	if d.secrets(root, at) {
		return
	}
	d.value(root, reflect.ValueOf(r).Elem(), "", at)
	d.check(r)
}
