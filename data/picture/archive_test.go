package picture

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/llavatrain/llavatrain/data/datatest"
)

// archiveEntry is one entry of a test archive. Those with a link are symbolic links, those with hard, hard links, which
// only a tar has.
type archiveEntry struct{ name, content, link, hard string }

func writeZip(t testing.TB, path string, entries []archiveEntry) string {
	t.Helper()
	var content bytes.Buffer
	w := zip.NewWriter(&content)
	for i, e := range entries {
		if e.hard != "" {
			continue
		}
		header := &zip.FileHeader{Name: e.name, Method: [2]uint16{zip.Store, zip.Deflate}[i%2]}
		header.SetMode(0o644)
		if e.link != "" {
			header.SetMode(fs.ModeSymlink | 0o777)
			e.content = e.link
		}
		f, err := w.CreateHeader(header)
		if err == nil {
			_, err = f.Write([]byte(e.content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return datatest.WriteFile(t, filepath.Dir(path), filepath.Base(path), content.String())
}

func writeTar(t testing.TB, path string, entries []archiveEntry) string {
	t.Helper()
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.content)), Typeflag: tar.TypeReg}
		if e.link != "" {
			header.Typeflag, header.Linkname = tar.TypeSymlink, e.link
		}
		if e.hard != "" {
			header.Typeflag, header.Linkname = tar.TypeLink, e.hard
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return datatest.WriteFile(t, filepath.Dir(path), filepath.Base(path), content.String())
}

// archives is how each kind is written.
var archives = map[string]func(t testing.TB, path string, entries []archiveEntry) string{".zip": writeZip,
	".tar": writeTar}

func archiveEntries(t testing.TB) []archiveEntry {
	good := string(smallFiles(t)["PNG"])
	return []archiveEntry{
		{name: "train/good.png", content: good},
		{name: "./train/dotted.jpg", content: good},
		{name: "train/page.jpg", content: "<html>Not found</html>"},
		{name: "train/empty.jpg"},
		{name: "../escape.png", content: good},
		{name: "/rooted.png", content: good},
		{name: "train/link.png", link: "none.png"},
		{name: "large.png", content: good + strings.Repeat("\x00", MaxFileBytes)},
	}
}

func TestArchives(t *testing.T) {
	for kind, write := range archives {
		t.Run(kind, func(t *testing.T) {
			im, err := OpenImages(write(t, filepath.Join(t.TempDir(), "images"+kind), archiveEntries(t)), Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer im.Close()
			var wait sync.WaitGroup
			for range 4 {
				wait.Go(func() {
					for _, name := range []string{"train/good.png", "train/dotted.jpg", "./train/good.png",
						"train/x/../good.png"} {
						if img, err := im.Read(name); err != nil || img.W == 0 {
							t.Errorf("%s: %v", name, err)
						}
					}
				})
			}
			wait.Wait()
			for name, want := range map[string]string{
				"":                     "path is empty",
				"/rooted.png":          "path is absolute",
				"rooted.png":           "no such file",
				"../escape.png":        "no such file",
				"escape.png":           "no such file",
				"train":                "no such file",
				"train/none.png":       "no such file",
				"train/link.png":       `a link leads to "train/none.png"`,
				"train/page.jpg":       "an HTML page",
				"train/empty.jpg":      "file is empty",
				"large.png":            "over the limit",
				"../images/good.png":   "no such file",
				"train/../../good.png": "no such file",
			} {
				if _, err := im.Read(name); err == nil || !errors.Is(err, ErrRow) ||
					!strings.Contains(err.Error(), want) {
					t.Errorf("%q: error is %v, want %q", name, err, want)
				}
			}
		})
	}
}

// A flipped byte in a zip fails the checksum of that one image.
func TestZipNoticesDamage(t *testing.T) {
	good := string(smallFiles(t)["PNG"])
	path := writeZip(t, filepath.Join(t.TempDir(), "images.zip"),
		[]archiveEntry{{name: "a.png", content: good}, {name: "b.png", content: good}})
	content, _ := os.ReadFile(path)
	content[bytes.Index(content, []byte("IEND"))-1] ^= 1
	im, err := OpenImages(datatest.WriteFile(t, t.TempDir(), "images.zip", string(content)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	if _, err := im.Read("a.png"); !errors.Is(err, ErrRow) || !strings.Contains(err.Error(), "damaged in the archive") {
		t.Errorf("error is %v", err)
	}
	if _, err := im.Read("b.png"); err != nil {
		t.Error(err)
	}
}

func TestArchivesRefuseCutFiles(t *testing.T) {
	entries := archiveEntries(t)[:4]
	for kind, write := range archives {
		content, err := os.ReadFile(write(t, filepath.Join(t.TempDir(), "images"+kind), entries))
		if err != nil {
			t.Fatal(err)
		}
		for end := 0; end < len(content); end += 1 + len(content)/300 {
			if im, err := OpenImages(datatest.WriteFile(t, t.TempDir(), "images"+kind, string(content[:end])),
				Options{}); err == nil {
				im.Close()
				t.Errorf("%s cut to %d of %d bytes is opened", kind, end, len(content))
			}
		}
	}
}

func TestSeveralTars(t *testing.T) {
	dir, good := t.TempDir(), string(smallFiles(t)["PNG"])
	for i := range 3 {
		writeTar(t, filepath.Join(dir, fmt.Sprintf("part-%d.tar",
			i)), []archiveEntry{{name: fmt.Sprintf("%d.png", i), content: good}})
	}
	var done, total int64
	im, err := OpenImages(filepath.Join(dir, "part-*.tar"), Options{Progress: func(d, n int64) { done, total = d, n }})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	for i := range 3 {
		if _, err := im.Read(fmt.Sprintf("%d.png", i)); err != nil {
			t.Error(err)
		}
	}
	if total != 3000 || done < 2000 {
		t.Errorf("progress %d of %d", done, total)
	}
	writeTar(t, filepath.Join(dir, "part-3.tar"), []archiveEntry{{name: "1.png", content: good}})
	if _, err := OpenImages(filepath.Join(dir, "part-*.tar"), Options{}); err == nil ||
		!strings.Contains(err.Error(), "names must be unique") {
		t.Errorf("one name in two archives: %v", err)
	}
	writeTar(t, filepath.Join(dir, "part-3.tar"), []archiveEntry{{name: "one.png", link: "1.png"}})
	writeTar(t, filepath.Join(dir, "part-4.tar"), []archiveEntry{{name: "one.png", link: "1.png"}})
	im, err = OpenImages(filepath.Join(dir, "part-*.tar"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	if _, err := im.Read("one.png"); err != nil {
		t.Errorf("a link to a file of another tar: %v", err)
	}
	writeTar(t, filepath.Join(dir, "part-4.tar"), []archiveEntry{{name: "one.png", link: "2.png"}})
	if _, err := OpenImages(filepath.Join(dir, "part-*.tar"), Options{}); err == nil ||
		!strings.Contains(err.Error(), "names must be unique") {
		t.Errorf("two links of one name: %v", err)
	}
}

func TestOpenImagesRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]string{
		datatest.WriteFile(t, dir, "rows.json", "[]"):                             "not a folder, a .zip or a tar file",
		datatest.WriteFile(t, dir, "images.tar.gz", "\x1f\x8b\x08"):               "decompress it with gunzip",
		datatest.WriteFile(t, dir, "images.zip", "not this"):                      "not a zip file or is incomplete",
		filepath.Join(dir, "*.tgz"):                                               "matches no file",
		datatest.WriteFile(t, dir, "short.tar", strings.Repeat("\x00", 257)+"us"): "not a folder",
	} {
		if _, err := OpenImages(name, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q", name, err, want)
		}
	}
}

// FuzzArchives: no content of an archive may do more than be refused.
func FuzzArchives(f *testing.F) {
	small := []archiveEntry{{name: "a.png", content: "12345"}, {name: "b/c.png", content: "678"},
		{name: "x", link: "b/c.png"}, {name: "y", hard: "a.png"}}
	for _, write := range []func(testing.TB, string, []archiveEntry) string{writeZip, writeTar} {
		content, _ := os.ReadFile(write(f, filepath.Join(f.TempDir(), "x"), small))
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		for kind := range archives {
			im, err := OpenImages(datatest.WriteFile(t, t.TempDir(), "images"+kind, string(content)), Options{})
			if err != nil {
				continue
			}
			for _, name := range []string{"a.png", "b/c.png", "x", "y"} {
				im.Read(name)
			}
			im.Close()
		}
	})
}
