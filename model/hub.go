package model

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Resolve finds the folder of model files that a recipe names: a folder, or a Hugging Face id (owner/name) in the
// local hub cache in huggingface_hub's layout. It never opens a connection.
func Resolve(weights string) (dir string, err error) {
	defer failure.MarkInput(&err)
	if info, err := os.Stat(weights); err == nil {
		if !info.IsDir() {
			return "", fmt.Errorf("%q is a file; name the folder that holds config.json and the weights", weights)
		}
		return weights, nil
	} else if failure.IsStorage(err) {
		return "", err
	}
	owner, name, isID := strings.Cut(weights, "/")
	if !isID || owner == "" || name == "" || strings.Contains(name, "/") || strings.HasPrefix(weights, ".") {
		return "", fmt.Errorf("no folder %q", weights)
	}
	repository := filepath.Join(hubCache(), "models--"+owner+"--"+name)
	revision, err := revisionOf(repository)
	if failure.IsStorage(err) {
		return "", err
	}
	if err != nil {
		return "", fmt.Errorf("%q is neither a folder nor in the local hub cache (%s); "+
			"fetch it first (hf download %s) or give a folder", weights, hubCache(), weights)
	}
	dir = filepath.Join(repository, "snapshots", revision)
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("%q is in the local hub cache, but its snapshot is not: %w", weights, err)
	}
	return dir, nil
}

// revisionOf is the commit in refs/main of a cached repository. If a single commit was fetched by its hash, there are
// no refs, and it is that commit.
func revisionOf(repository string) (string, error) {
	revision, err := os.ReadFile(filepath.Join(repository, "refs", "main"))
	if !errors.Is(err, fs.ErrNotExist) {
		return strings.TrimSpace(string(revision)), err
	}
	snapshots, snapshotsErr := os.ReadDir(filepath.Join(repository, "snapshots"))
	if snapshotsErr != nil || len(snapshots) != 1 {
		return "", err
	}
	return snapshots[0].Name(), nil
}

// hubCache is where huggingface_hub keeps repositories (its constants.py): HF_HUB_CACHE or its older name
// HUGGINGFACE_HUB_CACHE, else the folder hub in HF_HOME, which by default is in XDG_CACHE_HOME or ~/.cache.
func hubCache() string {
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"} {
		if dir := os.Getenv(name); dir != "" {
			return expand(dir)
		}
	}
	if home := os.Getenv("HF_HOME"); home != "" {
		return filepath.Join(expand(home), "hub")
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = "~/.cache"
	}
	return filepath.Join(expand(cache), "huggingface", "hub")
}

// expand replaces a leading ~ by the home folder, and $NAMES by their values, as huggingface_hub does.
func expand(path string) string {
	path = os.ExpandEnv(path)
	rest, ok := strings.CutPrefix(path, "~")
	if home, err := os.UserHomeDir(); ok && err == nil && (rest == "" || rest[0] == '/') {
		return home + rest
	}
	return path
}
