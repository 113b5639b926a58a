package synth

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/llavatrain/llavatrain/data/alike"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// exclusion holds the benchmarks whose images are not to be asked about.
type exclusion struct {
	benchmarks []*alike.Benchmark
	images     *picture.Images
	hashes     *alike.Hashes // nil: no benchmark's images were found, so that only names are compared
}

// openExclusion reads the files that the patterns name.
func openExclusion(patterns []string, say func(string)) (*exclusion, error) {
	e := &exclusion{}
	for i, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			return nil, failure.Inputf("synth.exclude.%d: no file matches %s", i, pattern)
		}
		for _, path := range paths {
			b, err := alike.OpenBenchmark(path)
			if err != nil {
				return nil, fmt.Errorf("synth.exclude.%d: %w", i, err)
			}
			if err := b.Hash(picture.Options{}, func(int64, int64) {}); err != nil {
				return nil, err
			}
			say(fmt.Sprintf("%s: %d images are left out, %d of them also by their pixels", path, b.Pictures, b.Hashed))
			e.benchmarks = append(e.benchmarks, b)
		}
	}
	return e, nil
}

// named says whether a benchmark has an image by its path: a COCO number, or the same name.
func (e *exclusion) named(path string) bool {
	for _, b := range e.benchmarks {
		if _, ok := b.Picture(path, nil); ok {
			return true
		}
	}
	return false
}

// look prepares for comparing pixels of the images in a folder.
func (e *exclusion) look(folder string) (err error) {
	hashed := 0
	for _, b := range e.benchmarks {
		hashed += b.Hashed
	}
	if hashed == 0 {
		return nil
	}
	if e.images, err = picture.OpenImages(folder, picture.Options{}); err != nil {
		return err
	}
	e.hashes = alike.OpenHashes(e.images, folder, picture.Options{})
	return nil
}

// looks says whether a benchmark has an image by its pixels. Images are decoded only when their turn comes. One that
// cannot be decoded is like none.
func (e *exclusion) looks(image string) (bool, error) {
	if e.hashes == nil {
		return false, nil
	}
	hash, err := e.hashes.Of(picture.Image{Path: image})
	if errors.Is(err, picture.ErrRow) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, b := range e.benchmarks {
		if _, ok := b.Picture("", &hash); ok {
			return true, nil
		}
	}
	return false, nil
}

func (e *exclusion) close() error {
	if e.hashes == nil {
		return nil
	}
	e.hashes.Keep()
	return e.images.Close()
}
