package check

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/llavatrain/llavatrain/data/alike"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/train/input"
)

// Kinds of rows that --drop leaves out of the files of --write-clean.
const (
	DropCaptions  = "captions"  // those with the caption of an earlier row
	DropPictures  = "pictures"  // those with a picture like an earlier row's
	DropAgainst   = "against"   // those with a picture of a file of --against
	DropQuestions = "questions" // those with a question of a file of --against
)

// drops are the kinds, and what finds their rows.
var drops = []struct {
	kind, flag string
	found      func(o Options) bool
}{
	{DropCaptions, "--alike", func(o Options) bool { return o.Alike }},
	{DropPictures, "--alike", func(o Options) bool { return o.Alike }},
	{DropAgainst, "--against FILE", func(o Options) bool { return len(o.Against) > 0 }},
	{DropQuestions, "--against FILE", func(o Options) bool { return len(o.Against) > 0 }},
}

// checkDrop refuses kinds that cannot be dropped.
func checkDrop(o Options) error {
	var known []string
	for _, d := range drops {
		known = append(known, d.kind)
	}
	for _, kind := range o.Drop {
		at := slices.Index(known, kind)
		switch {
		case at < 0:
			return failure.NotOneOf("--drop", kind, known)
		case o.Clean == "":
			return failure.Inputf("--drop leaves rows out of the file that --write-clean writes: " +
				"add --write-clean FILE")
		case !drops[at].found(o):
			return failure.Inputf("--drop %s needs %s, which finds such rows", kind, drops[at].flag)
		}
	}
	return nil
}

// openLike opens what the options ask for: nil if that is nothing. d is nil if the data cannot be opened.
func (s *stageCheck) openLike(d *input.Dataset) (*likeCheck, error) {
	o := s.options
	if err := checkDrop(o); err != nil || !o.Alike && len(o.Against) == 0 {
		return nil, err
	}
	c := &likeCheck{Dataset: d, options: o, dropped: map[input.SkippedRow]bool{}}
	for _, pattern := range o.Against {
		paths, err := picture.Matches(pattern)
		if err != nil {
			return nil, fmt.Errorf("--against: %w", err)
		}
		for _, path := range paths {
			b, err := alike.OpenBenchmark(path)
			if err != nil {
				return nil, fmt.Errorf("--against: %w", err)
			}
			c.benchmarks = append(c.benchmarks, b)
		}
	}
	if d == nil {
		s.note("nothing was compared: the rows can be read when what is missing is there")
		return nil, nil
	}
	return c, c.openPictures()
}

// openPictures opens the hashes of the data's pictures, and hashes those of the benchmarks.
func (c *likeCheck) openPictures() error {
	options := picture.Options{
		MaxPixels: c.Stage.MaxPixels, Orientation: c.Stage.Turn == recipes.TurnByEXIF,
	}
	for i, entry := range c.Stage.Data {
		root, err := filepath.Abs(entry.Images)
		if err != nil {
			return err
		}
		if straight, err := filepath.EvalSymlinks(root); err == nil { // a pattern of archives is no file
			root = straight
		}
		c.roots = append(c.roots, root)
		c.hashes = append(c.hashes, nil)
		if c.options.Alike {
			c.hashes[i] = alike.OpenHashes(c.Dataset.Images[i], entry.Images, options)
		}
	}
	for _, b := range c.benchmarks {
		if !c.options.Alike {
			break
		}
		if err := b.Hash(options, func(done, total int64) {
			c.options.Report.Progress("hashing the pictures of "+filepath.Base(b.Path), done, total)
		}); err != nil {
			return fmt.Errorf("--against: %s: %w", b.Path, err)
		}
	}
	return nil
}

// hashesOf is what rowCheck decodes the images of a data set by, nil if it need not keep their hashes.
func (c *likeCheck) hashesOf(source int) *alike.Hashes {
	if c == nil {
		return nil
	}
	return c.hashes[source]
}
