package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data"
)

// TestEveryFormTrainsAlike: the same rows give the same metrics, ledger, weights and skipped rows from a JSON array and
// a folder, from JSON Lines and a zip or a tar, and from shards with files or pixels. One row gives an image that does
// not exist, another is not a valid row.
func TestEveryFormTrainsAlike(t *testing.T) {
	dir := world(t)
	recipe := rowsWorld(t, dir, pictureRow("none.png"))
	rows := bytes.Replace(read(t, filepath.Join(dir, "rows.json")), []byte(`{"`), []byte(`{"conversations": 1},{"`), 1)
	write(t, filepath.Join(dir, "rows.json"), string(rows))
	lines := bytes.ReplaceAll(bytes.Trim(rows, "[]\n"), []byte(`]},{`), []byte("]}\n{"))
	write(t, filepath.Join(dir, "rows.jsonl"), strings.Replace(string(lines), "1},{", "1}\n{", 1))
	packPictures(t, dir)

	train := func(entry string) (outcome, []data.Skip) {
		command(t, 0, "finetune", recipe, "--overwrite", set("finetune.data", "["+entry+"]"),
			set("finetune.steps", worldSteps))
		runDir := filepath.Join(dir, "runs", "rows", "finetune")
		defer removeAside(t, runDir)
		o := outcomeOf(t, runDir)
		o.ledger = o.ledger[1:] // the first line has the data set's fingerprint
		return o, readQuarantine(t, runDir)
	}
	want, skipped := train("{path: rows.json, images: data/images}")
	if len(skipped) != 12 { // two in each of six epochs
		t.Fatalf("skipped %v", skipped)
	}
	command(t, 0, "shard", recipe, "--out", filepath.Join(dir, "shards"), "--size=20KB")
	command(t, 0, "shard", recipe, "--out", filepath.Join(dir, "pixels"), "--pixels")
	for _, entry := range []string{
		"{path: rows.jsonl, images: images.zip}", "{path: 'rows.json[l]', images: images.tar}",
		"{shards: shards}", "{shards: pixels}",
	} {
		got, skips := train(entry)
		requireSame(t, entry, want, got)
		for i := range skips { // the reason contains the folder or archive
			skips[i].Reason, _, _ = strings.Cut(skips[i].Reason, ": no such file")
			skipped[i].Reason, _, _ = strings.Cut(skipped[i].Reason, ": no such file")
		}
		if diff := cmp.Diff(skipped, skips); diff != "" {
			t.Errorf("%s: skipped rows differ (-want +got):\n%s", entry, diff)
		}
	}
}

// packPictures writes images.zip and images.tar of a world's images.
func packPictures(t *testing.T, dir string) {
	t.Helper()
	var zipped, tarred bytes.Buffer
	z, a := zip.NewWriter(&zipped), tar.NewWriter(&tarred)
	folder := filepath.Join(dir, "data", "images")
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		content := read(t, filepath.Join(folder, entry.Name()))
		inZip, err := z.Create(entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := a.WriteHeader(&tar.Header{Name: entry.Name(), Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.MultiWriter(inZip, a).Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "images.zip"), zipped.String())
	write(t, filepath.Join(dir, "images.tar"), tarred.String())
}
