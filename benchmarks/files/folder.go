// Package files reads what benchmarks are published in, and writes what their servers take: JSON, JSON lines,
// tab-separated values, parquet of the Hugging Face hub, workbooks of Excel.
//
// The files are other people's, and untrusted: every error says which file and where, and what to do where that is
// known. What was read is remembered with a hash of its content, because a figure rests on the release of its labels.
package files

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Source is a file that was read, and what it contained.
type Source struct {
	Name string `json:"name"` // below the folder
	Hash string `json:"hash"` // sha256 of the content; of parquet its size and a checksum of its footer
}

// Folder is the folder of a benchmark's files.
type Folder struct {
	Path string
	read []Source
}

// Open opens a folder. A name such as lmms-lab/POPE, which is no folder, is looked for in the cache of the Hugging Face
// hub.
func Open(path string) (*Folder, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && strings.Count(path, "/") == 1 {
		if found := cached(path); found != "" {
			return &Folder{Path: found}, nil
		}
		return nil, failure.Inputf("data: %s is neither a folder nor a data set in the local hub cache (%s); fetch "+
			"it first", path, hubCache())
	}
	switch {
	case err != nil:
		return nil, failure.Inputf("data: %s: %w", path, picture.Bare(err))
	case !info.IsDir():
		return nil, failure.Inputf("data: %s is a file; give the folder that holds the benchmark's files", path)
	}
	return &Folder{Path: path}, nil
}

// hubCache is where huggingface_hub keeps repositories (its constants.py).
func hubCache() string {
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"} {
		if folder := os.Getenv(name); folder != "" {
			return folder
		}
	}
	if home := os.Getenv("HF_HOME"); home != "" {
		return filepath.Join(home, "hub")
	}
	home, _ := os.UserHomeDir()
	return filepath.Join(home, ".cache", "huggingface", "hub")
}

// cached is the snapshot of a data set that the cache calls main, "" if it has none.
func cached(id string) string {
	repository := filepath.Join(hubCache(), "datasets--"+strings.ReplaceAll(id, "/", "--"))
	commit, err := os.ReadFile(filepath.Join(repository, "refs", "main"))
	if err != nil {
		return ""
	}
	snapshot := filepath.Join(repository, "snapshots", strings.TrimSpace(string(commit)))
	if _, err := os.Stat(snapshot); err != nil {
		return ""
	}
	return snapshot
}

// Read lists what was read so far, sorted by name.
func (f *Folder) Read() []Source {
	list := slices.Clone(f.read)
	slices.SortFunc(list, func(a, b Source) int { return strings.Compare(a.Name, b.Name) })
	return slices.Compact(list)
}

// Has says whether a file or folder is there.
func (f *Folder) Has(name string) bool {
	_, err := os.Stat(f.at(name))
	return err == nil
}

func (f *Folder) at(name string) string { return filepath.Join(f.Path, filepath.FromSlash(name)) }

// Names are the files and folders in a folder below, sorted.
func (f *Folder) Names(below string) ([]string, error) {
	entries, err := os.ReadDir(f.at(below))
	if err != nil {
		return nil, failure.Inputf("%s: %w", f.at(below), picture.Bare(err))
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, nil
}

// Text is the whole of a text file, without a byte order mark. What users take for text and is not is refused by name.
func (f *Folder) Text(name string) (_ []byte, err error) {
	text, hash, err := Text(f.at(name))
	if err != nil {
		return nil, err
	}
	f.read = append(f.read, Source{filepath.ToSlash(name), hash})
	return text, nil
}

// Text is the whole of a text file, and its hash.
func Text(path string) (text []byte, hash string, err error) {
	defer failure.MarkInput(&err)
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, picture.Bare(err))
	}
	if text, err = rows.PlainText(raw); err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	sum := sha256.Sum256(raw)
	return text, hex.EncodeToString(sum[:]), nil
}
