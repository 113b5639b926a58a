package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// Files that README.md, CONTRIBUTING.md and docs/*.md refer to must exist: documents are easily forgotten when a file
// moves.

// elsewhere are beginnings of paths that look like the repository's but are of a run, whose folders have the names of
// packages, or of another program.
var elsewhere = []string{
	"runs/NAME", "runs/shapes", "runs/llava-v1.5-7b", "runs/synth-coco", "checkpoints/step-000500",
	"checkpoints/latest",
	"mm-vet_evaluator.py",                          // of MM-Vet
	"train/loss", "train/lr", "train/tokens_per_s", // tags of TensorBoard
	// of llama.cpp
	"llama.cpp", "llama/", "convert_hf_to_gguf.py", "convert_image_encoder_to_gguf.py", "tools/mtmd/",
}

var (
	fences       = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	spans        = regexp.MustCompile("``.+?``|`[^`]+`")
	links        = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headings     = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	pathWord     = regexp.MustCompile(`[\w./<>*-]+`)
	sourceEnding = regexp.MustCompile(`\.(go|cpp|cu|h|sh|py|txtar|lock)$`)
	placeholder  = regexp.MustCompile(`<[a-z]+>`) // <family>: any name
)

// brokenReferences lists the paths in a page that the repository in root does not have. page is relative to root.
func brokenReferences(root, page, text string) (broken []string) {
	prose := fences.ReplaceAllString(text, "")
	code := strings.Join(slices.Concat(fences.FindAllString(text, -1), spans.FindAllString(prose, -1)), "\n")
	for _, name := range pathWord.FindAllString(code, -1) {
		name = strings.TrimRight(strings.TrimPrefix(name, "./"), ".")
		if isRepositoryPath(root, name) && !exists(root, name) {
			broken = append(broken, fmt.Sprintf("%s names `%s`, which does not exist", page, name))
		}
	}
	for _, link := range links.FindAllStringSubmatch(text, -1) {
		if strings.Contains(link[1], "://") {
			continue
		}
		target, anchor, _ := strings.Cut(link[1], "#")
		linked, err := []byte(text), error(nil)
		if target != "" {
			linked, err = os.ReadFile(filepath.Join(root, filepath.Dir(page), target))
		}
		if err != nil || anchor != "" && !slices.Contains(anchors(string(linked)), anchor) {
			broken = append(broken, fmt.Sprintf("%s links to %s, which does not exist", page, link[1]))
		}
	}
	return broken
}

// isRepositoryPath reports whether a word in code style is meant as a path from the repository's root: it starts with a
// folder there, or has the extension of a source file.
func isRepositoryPath(root, name string) bool {
	for _, prefix := range elsewhere {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	first, _, inFolder := strings.Cut(name, "/")
	if first == "" || first == ".." {
		return false
	}
	_, err := os.Stat(filepath.Join(root, first))
	return inFolder && err == nil || sourceEnding.MatchString(name)
}

func exists(root, name string) bool {
	pattern := filepath.Join(root, placeholder.ReplaceAllString(name, "*"))
	found, err := filepath.Glob(pattern)
	return err == nil && len(found) > 0
}

// anchors are the anchors that GitHub makes of a page's headings.
func anchors(text string) (list []string) {
	for _, heading := range headings.FindAllStringSubmatch(fences.ReplaceAllString(text, ""), -1) {
		list = append(list, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, heading[1]))
	}
	return list
}

func TestDocumentsNameWhatExists(t *testing.T) {
	root := filepath.Join("..", "..")
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(pages) < 5 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	used := map[string]bool{}
	for _, path := range append(pages, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md")) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		page, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		for _, reference := range brokenReferences(root, page, string(text)) {
			t.Error(reference)
		}
		for _, prefix := range elsewhere {
			if strings.Contains(string(text), prefix) {
				used[prefix] = true
			}
		}
	}
	for _, prefix := range elsewhere {
		if !used[prefix] {
			t.Errorf("%q is excepted and no page has it", prefix)
		}
	}
}

func TestBrokenReferences(t *testing.T) {
	root := t.TempDir()
	files := map[string]string{"train/run.go": "", "docs/a.md": "# How it Works: a `b`\n", "Makefile": ""}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	pages := map[string]int{
		"`train/run.go`, `./train` and `train/*.go`":                       0,
		"`train/<name>.go`":                                                0,
		"`train/gone.go`":                                                  1,
		"`gone.go` and ``train/gone/``":                                    2,
		"`train/*.py`":                                                     1,
		"`train/<name>.cpp`":                                               1,
		"```sh\ngo test ./train/gone\n```\n":                               1,
		"train/gone.go outside of code":                                    0,
		"`a/b`, `../shared/x`, `/etc/x`, `train.json`, `n*Tokens/2`":       0,
		"`runs/NAME/gone.go`":                                              0,
		"[a](docs/a.md), [b](docs/a.md#how-it-works-a-b), [c](https://x/)": 0,
		"[a](docs/gone.md)":                                                1,
		"[a](docs/a.md#gone)":                                              1,
		"# Here\n[a](#here), [b](#gone)":                                   1,
	}
	for _, text := range slices.Sorted(maps.Keys(pages)) {
		if broken := brokenReferences(root, "README.md", text); len(broken) != pages[text] {
			t.Errorf("%q: %q, want %d", text, broken, pages[text])
		}
	}
	if broken := brokenReferences(root, "docs/b.md", "[a](a.md) [b](docs/a.md)"); len(broken) != 1 {
		t.Errorf("links of a page start from its folder: %q", broken)
	}
}
