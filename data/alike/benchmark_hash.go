package alike

import (
	"cmp"
	"errors"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/llavatrain/llavatrain/data/picture"
)

// placedImage is a picture of a benchmark and where the file first names it.
type placedImage struct {
	picture.Image
	Place
}

// Hash finds the benchmark's pictures and hashes them: those in the file itself, and those whose paths start from the
// file's folder or from the folder images in it. A list may also name files anywhere by absolute paths. Pictures that
// are not there or cannot be decoded are left out. options are those of the pictures to compare with; an error is the
// disk's.
func (b *Benchmark) Hash(options picture.Options, progress picture.Progress) error {
	folder, err := filepath.Abs(filepath.Dir(b.Path))
	if err != nil {
		return err
	}
	root := folder
	if b.list {
		root = "/"
	}
	images, err := picture.OpenImages(root, options)
	if err != nil {
		return err
	}
	defer images.Close()
	hashes := OpenHashes(images, root, options)
	defer hashes.Keep()
	found := make([]*Hash, len(b.images))
	if err := each(len(found), progress, func(i int) error {
		image, ok := b.find(images, folder, b.images[i].Image)
		if !ok {
			return nil
		}
		hash, err := hashes.Of(image)
		if err == nil {
			found[i] = &hash
		}
		if errors.Is(err, picture.ErrRow) {
			err = nil
		}
		return err
	}); err != nil {
		return err
	}
	for i, hash := range found {
		if hash != nil {
			b.hashes.Add(*hash)
			b.hashed = append(b.hashed, b.images[i].Place)
		}
	}
	b.Hashed = len(b.hashed)
	return nil
}

// find is a picture by the path that opens it.
func (b *Benchmark) find(images *picture.Images, folder string, image picture.Image) (picture.Image, bool) {
	if image.File != nil {
		return image, true
	}
	places := []string{image.Path, filepath.Join("images", image.Path)}
	if b.list {
		places = []string{image.Path}
		if !filepath.IsAbs(image.Path) {
			places[0] = filepath.Join(folder, image.Path)
		}
	}
	for _, path := range places {
		if images.Stamp(path) != 0 {
			return picture.Image{Path: path}, true
		}
	}
	return image, false
}

// each calls work for 0 to n-1, on all cores, until one fails, and progress from the caller's goroutine.
func each(n int, progress picture.Progress, work func(i int) error) (failed error) {
	var next atomic.Int64
	results := make(chan error)
	var working sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		working.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				results <- work(int(i))
			}
		})
	}
	go func() {
		working.Wait()
		close(results)
	}()
	done := int64(0)
	for err := range results {
		if err != nil {
			failed = cmp.Or(failed, err)
			next.Store(int64(n)) // no more work
		}
		done++
		progress(done, int64(n))
	}
	return failed
}
