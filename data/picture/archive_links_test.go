package picture

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Links in an archive lead to its own files, through folders and other links; one that leads out is refused by name.
func TestLinksInArchives(t *testing.T) {
	good := string(smallFiles(t)["PNG"])
	entries := []archiveEntry{
		{name: "a.png", content: good},
		{name: "b/c.png", content: good},
		{name: "linked.png", link: "a.png"},
		{name: "./b/up.png", link: "../a.png"},
		{name: "b/twice.png", link: ".././b//up.png"},
		{name: "folder", link: "b"},
		{name: "x/y/folder", link: "../../folder"},
		{name: "absolute.png", link: "/etc/hostname"},
		{name: "b/out.png", link: "../../a.png"},
		{name: "folder-out", link: "b/../.."},
		{name: "loop.png", link: "loop.png"},
		{name: "ring", link: "b/ring"},
		{name: "b/ring", link: "../ring"},
		{name: "dangling.png", link: "b/none.png"},
		{name: "to-folder.png", link: "b"},
		{name: "empty.png", link: "."},
		{name: "long.png", link: strings.Repeat("b/../", 1000) + "a.png"},
		{name: "replaced.png", link: "/etc/hostname"},
		{name: "replaced.png", content: good},
		{name: "hard.png", hard: "a.png"},
		{name: "b/hard.png", hard: "./b/c.png"},
		{name: "b/hard-of-link.png", hard: "linked.png"},
		{name: "hard-out.png", hard: "../a.png"},
		{name: "hard-absolute.png", hard: "/a.png"},
		{name: "hard-none.png", hard: "none.png"},
	}
	readable := []string{"linked.png", "b/up.png", "b/twice.png", "folder/c.png", "x/y/folder/c.png", "replaced.png",
		"folder/up.png"}
	refused := map[string]string{
		"absolute.png":       `the link "absolute.png" leads to "/etc/hostname", out of the archive`,
		"b/out.png":          `the link "b/out.png" leads to "../../a.png", out of the archive`,
		"folder/out.png":     `the link "b/out.png" leads to "../../a.png", out of the archive`,
		"folder-out/a.png":   `the link "folder-out" leads to "b/../..", out of the archive`,
		"loop.png":           `the link "loop.png" leads to itself`,
		"ring":               "leads to itself",
		"dangling.png":       `a link leads to "b/none.png"`,
		"to-folder.png":      `a link leads to "b"`,
		"empty.png":          `a link leads to "."`,
		"folder/none.png":    "no such file",
		"linked.png/a.png":   "no such file",
		"../linked.png":      "no such file",
		"x/../../linked.png": "no such file",
	}
	hard := []string{"hard.png", "b/hard.png", "folder/hard.png", "b/hard-of-link.png", "long.png"}
	refusedHard := map[string]string{"hard-out.png": "out of the archive", "hard-none.png": "no such file",
		"hard-absolute.png": `leads to "/a.png", out of the archive`}
	for kind, write := range archives {
		im, err := OpenImages(write(t, filepath.Join(t.TempDir(), "images"+kind), entries), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer im.Close()
		readable, refused := slices.Clone(readable), maps.Clone(refused)
		if kind == ".tar" {
			readable = append(readable, hard...)
			maps.Copy(refused, refusedHard)
		}
		for _, name := range readable {
			if img, err := im.Read(name); err != nil || img.W == 0 {
				t.Errorf("%s: %s: %v", kind, name, err)
			}
		}
		for name, want := range refused {
			if _, err := im.Read(name); !errors.Is(err, ErrRow) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %s: error is %v, want %q", kind, name, err, want)
			}
		}
	}
}
