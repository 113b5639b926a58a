package check

import (
	"cmp"
	"hash/maphash"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/data/alike"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/train/input"
)

// rowCheck reads all rows of one data set and the images that they name, by Dataset.Read as a run does.
type rowCheck struct {
	*input.Dataset
	source  int
	options Options
	hashes  *alike.Hashes // keeps those of images that are decoded; may be nil

	mu     sync.Mutex
	images map[string]lookedAt // by path
	seed   maphash.Seed

	lengths   []int32  // of each row in positions, before cutting; 0 if it is skipped or tokens are not counted
	rows, ids []uint64 // hashes of each row's content, and of its id (0: none)
}

// lookedAt is the result for one image file.
type lookedAt struct {
	width, height int
	orientation   int // EXIF, 1 to 8
	stamp         int64
	err           error
}

// blockFound is the result for one block of rows.
type blockFound struct {
	tally
	skips []Finding
	cuts  []Finding
	err   error
}

func (c *rowCheck) run() (sourceChecked, error) {
	if cached, ok := c.cached(); ok {
		return cached, nil
	}
	n := c.Sources[c.source].Len()
	c.images, c.seed = map[string]lookedAt{}, maphash.MakeSeed()
	c.lengths, c.rows, c.ids = make([]int32, n), make([]uint64, n), make([]uint64, n)
	blocks, results := make(chan int), make(chan blockFound)
	var working sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		working.Go(func() {
			for first := range blocks {
				results <- c.block(first, min(first+input.CheckBlock, n))
			}
		})
	}
	go func() {
		for first := 0; first < n; first += input.CheckBlock {
			blocks <- first
		}
		close(blocks)
		working.Wait()
		close(results)
	}()
	found, err := c.gather(results, n)
	if err != nil {
		return sourceChecked{}, err
	}
	c.keep(found)
	return found, nil
}

// gather adds up the blocks, in whatever order they arrive.
func (c *rowCheck) gather(results <-chan blockFound, n int) (sourceChecked, error) {
	total := newTally()
	var skips, cuts []Finding
	var failed error
	for b := range results {
		failed = cmp.Or(failed, b.err)
		total.add(b.tally)
		skips, cuts = append(skips, b.skips...), append(cuts, b.cuts...)
		c.options.Report.Progress("checking "+c.name(), int64(total.rows), int64(n))
	}
	if failed != nil {
		return sourceChecked{}, failed
	}
	slices.SortFunc(skips, byRow)
	slices.SortFunc(cuts, byRow)
	return c.conclude(total, skips, cuts), nil
}

func byRow(a, b Finding) int { return a.Row - b.Row }

// path is the data set's path in the recipe.
func (c *rowCheck) path() string {
	return cmp.Or(c.Stage.Data[c.source].Path, c.Stage.Data[c.source].Shards)
}

func (c *rowCheck) name() string { return filepath.Base(c.path()) }

func (c *rowCheck) block(first, end int) blockFound {
	b := blockFound{tally: newTally()}
	for row := first; row < end; row++ {
		record, sample, err := c.Read(c.source, row, c.encode, c.see)
		if input.StorageFault(err) {
			b.err = err
			return b
		}
		c.note(row, record)
		for _, key := range record.Unused {
			b.unused[key]++
		}
		b.rows++
		folder := b.folder(c.folderOf(record))
		folder.Rows++
		if err != nil {
			folder.Skipped++
			b.skips = append(b.skips, Finding{Row: row, ID: record.ID, Reason: err.Error()})
			continue
		}
		b.images += len(record.Images)
		if c.options.NoTokens {
			continue
		}
		c.lengths[row] = int32(sample.Length() + sample.Cut)
		b.count(sample, folder)
		if sample.Cut > 0 {
			b.cuts = append(b.cuts, Finding{Row: row, ID: record.ID, Lost: sample.Cut})
		}
	}
	return b
}

func (c *rowCheck) encode(r rows.Record, sizes data.ImageSizes) (data.Sample, error) {
	if c.options.NoTokens {
		return data.Sample{Images: make([]picture.Picture, len(r.Images))}, c.Encoder.Check(r)
	}
	return c.Encoder.Encode(r, sizes)
}

// see checks an image once, however many rows name it.
func (c *rowCheck) see(image picture.Image, _ bool) (picture.Picture, error) {
	if image.Prepared != nil || image.File != nil { // in the row itself
		at := c.look(image)
		return picture.Picture{Width: at.width, Height: at.height}, at.err
	}
	c.mu.Lock()
	known, ok := c.images[image.Path]
	c.mu.Unlock()
	if !ok {
		known = c.look(image)
		if input.StorageFault(known.err) {
			return picture.Picture{}, known.err
		}
		c.mu.Lock()
		c.images[image.Path] = known
		c.mu.Unlock()
	}
	return picture.Picture{Width: known.width, Height: known.height}, known.err
}

func (c *rowCheck) look(image picture.Image) (at lookedAt) {
	folder := c.Dataset.Images[c.source]
	switch {
	case image.Prepared != nil:
		at.width, at.height = image.Prepared.Width, image.Prepared.Height
	case c.options.Decode:
		at.stamp = folder.Stamp(image.Path) // taken before reading, so that a change in between is noticed
		header, _ := folder.Inspect(image)
		at.orientation = header.Orientation
		decode := folder.Decode
		if c.hashes != nil {
			decode = c.hashes.Decode
		}
		picture, err := decode(image)
		if at.err = err; err == nil {
			at.width, at.height = picture.W, picture.H
		}
	default:
		at.stamp = folder.Stamp(image.Path)
		header, err := folder.Inspect(image)
		at.width, at.height, at.orientation, at.err = header.Width, header.Height, header.Orientation, err
	}
	return at
}

// note records the hashes that reveal duplicates.
func (c *rowCheck) note(row int, r rows.Record) {
	var h maphash.Hash
	h.SetSeed(c.seed)
	for _, image := range r.Images {
		h.WriteString(image.Path)
		h.WriteByte(0)
		h.Write(image.File)
	}
	for _, turn := range r.Turns {
		h.WriteString(turn.Role)
		h.WriteByte(1)
		h.WriteString(turn.Text)
		h.WriteByte(2)
	}
	if len(r.Turns) > 0 {
		c.rows[row] = h.Sum64()
	}
	if r.ID != "" {
		c.ids[row] = maphash.String(c.seed, r.ID)
	}
}

// repeated lists the rows with the hash of an earlier row, and the first such row of each; a hash of 0 is none.
func repeated(hashes []uint64) (rows []int, of []int) {
	first := make(map[uint64]int32, len(hashes))
	for row, h := range hashes {
		if h == 0 {
			continue
		}
		if before, ok := first[h]; ok {
			rows, of = append(rows, row), append(of, int(before))
			continue
		}
		first[h] = int32(row)
	}
	return rows, of
}

// textAlone stands for the folder of rows without images.
const textAlone = "(text alone)"

// folderOf is the part of the data that a row belongs to.
func (c *rowCheck) folderOf(r rows.Record) string { return cmp.Or(c.FolderOf(c.source, r), textAlone) }
