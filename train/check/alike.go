package check

import (
	"cmp"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/llavatrain/llavatrain/data/alike"
	"github.com/llavatrain/llavatrain/train/input"
)

// likeCheck compares the rows of all data sets of a stage with each other and with benchmarks. It reads the rows once
// more: most checks do without, and it needs to know which of them a run leaves out.
type likeCheck struct {
	*input.Dataset
	options    Options
	benchmarks []*alike.Benchmark
	hashes     []*alike.Hashes // of each data set
	roots      []string        // where its images are, without links
	skipped    map[input.SkippedRow]bool

	pictures alike.Index            // one of each group of near ones
	firsts   []pictureAt            // by number in pictures
	files    map[string]pictureFile // by root and name
	captions map[uint64]input.SkippedRow
	shared   []map[string]bool // files that each benchmark has

	found   AlikeChecked
	against []AgainstChecked
	dropped map[input.SkippedRow]bool
}

// pictureAt is where a picture appears first.
type pictureAt struct {
	input.SkippedRow
	image string
}

// pictureFile is a file, which counts once however many rows name it.
type pictureFile struct {
	number   int // in pictures; none if no row with it or its like was kept
	distance int
	like     bool // number is another file's, of an earlier row
	counted  bool // as such
}

// none is the number of no picture.
const none = -1

// likeBlock is how many rows a worker takes at a time.
const likeBlock = 64

// run compares all rows, skipped ones left out, and says what was found.
func (c *likeCheck) run(skipped []input.SkippedRow) error {
	c.skipped, c.files = map[input.SkippedRow]bool{}, map[string]pictureFile{}
	c.captions = map[uint64]input.SkippedRow{}
	for _, row := range skipped {
		c.skipped[row] = true
	}
	for _, b := range c.benchmarks {
		found := AgainstChecked{
			Path: b.Path, Pictures: b.Pictures, Numbered: b.Numbered, Hashed: b.Hashed, Questions: b.Questions,
			Unread: b.Unread,
		}
		if b.Fault != nil {
			found.Fault = b.Fault.Error()
		}
		c.against, c.shared = append(c.against, found), append(c.shared, map[string]bool{})
	}
	for source := range c.Sources {
		if err := c.compare(source); err != nil {
			return err
		}
	}
	c.finish()
	return nil
}

// finish lets every list be one in JSON.
func (c *likeCheck) finish() {
	lists := []*Likeness{&c.found.Near, &c.found.Captions}
	for i := range c.against {
		a := &c.against[i]
		lists = append(lists, &a.ByNumber, &a.ByName, &a.ByHash, &a.ByQuestion)
	}
	for _, l := range lists {
		if l.Rows == nil {
			l.Rows = []Like{}
		}
	}
}

// compare goes through the rows of one data set. Workers read rows and hash images; what they have seen is compared in
// the order of the rows, so that the result does not depend on who was first.
func (c *likeCheck) compare(source int) error {
	n := c.Sources[source].Len()
	type block struct {
		rows []rowSeen
		err  error
	}
	stop := make(chan struct{})
	defer close(stop)
	inOrder := make(chan chan block, 4*runtime.GOMAXPROCS(0))
	go func() {
		defer close(inOrder)
		working := make(chan struct{}, runtime.GOMAXPROCS(0))
		for first := 0; first < n; first += likeBlock {
			result := make(chan block, 1)
			select {
			case inOrder <- result:
			case <-stop:
				return
			}
			working <- struct{}{}
			go func() {
				rows, err := c.look(source, first, min(first+likeBlock, n))
				result <- block{rows, err}
				<-working
			}()
		}
	}()
	const keepEvery = 1 << 15 // rows; a check that is interrupted loses no more
	done, name := 0, filepath.Base(cmp.Or(c.Stage.Data[source].Path, c.Stage.Data[source].Shards))
	for result := range inOrder {
		b := <-result
		if b.err != nil {
			return b.err
		}
		for _, row := range b.rows {
			c.take(row)
		}
		done = min(done+likeBlock, n)
		c.options.Report.Progress("comparing "+name, int64(done), int64(n))
		if hashes := c.hashes[source]; hashes != nil && (done%keepEvery == 0 || done == n) {
			hashes.Keep()
		}
	}
	return nil
}

// take compares a row with the benchmarks and with earlier rows, and keeps what later rows are compared with. A row
// that is dropped is nobody's earlier row: of each group of like ones the first that is not dropped for another reason
// stays.
func (c *likeCheck) take(r rowSeen) {
	for i, b := range c.benchmarks {
		c.takeBenchmark(r, b, &c.against[i], c.shared[i])
	}
	for _, a := range r.asked {
		c.against[a.benchmark].ByQuestion.add(r.like("", origin(c.benchmarks[a.benchmark], a.place)))
		c.drop(r, DropQuestions)
	}
	if !c.options.Alike {
		return
	}
	first, repeated := c.captions[r.caption]
	if repeated {
		c.found.Captions.add(r.like("", Origin{Data: &first.Data, Row: &first.Row}))
		c.drop(r, DropCaptions)
	}
	c.takePictures(r)
	if c.dropped[r.at] {
		return
	}
	if r.caption != 0 && !repeated {
		c.captions[r.caption] = r.at
	}
	c.keepPictures(r)
}

func (c *likeCheck) drop(r rowSeen, kind string) {
	if slices.Contains(c.options.Drop, kind) {
		c.dropped[r.at] = true
	}
}

// takePictures compares a row's pictures with those of earlier rows. Those of one row are not compared with each other:
// frames of a video, say, belong together.
func (c *likeCheck) takePictures(r rowSeen) {
	said := false
	for _, image := range r.images {
		if image.prepared {
			c.found.Prepared++
			continue
		}
		f := c.seek(image)
		if f.like && !f.counted {
			f.counted = true
			c.found.Near.Files++
		}
		c.files[image.file] = f
		if said || !f.like {
			continue
		}
		first := c.firsts[f.number]
		l := r.like(image.path, Origin{Data: &first.Data, Row: &first.Row, Image: first.image})
		l.Distance = &f.distance
		c.found.Near.add(l)
		c.drop(r, DropPictures)
		said = true
	}
}

// seek finds a picture's file among those seen, or what it is like.
func (c *likeCheck) seek(image imageSeen) pictureFile {
	f, seen := c.files[image.file]
	switch {
	case seen:
	case image.hash == nil:
		c.found.Unread++
	default:
		c.found.Pictures++
		if image.hash.Plain {
			c.found.Plain++
		}
	}
	if !seen {
		f.number = none
	}
	if f.number == none && image.hash != nil {
		if number, distance, ok := c.pictures.Nearest(*image.hash); ok {
			f.number, f.distance, f.like = number, distance, true
		}
	}
	return f
}

// keepPictures lets later rows be compared with a row's pictures.
func (c *likeCheck) keepPictures(r rowSeen) {
	for _, image := range r.images {
		f := c.files[image.file]
		if image.hash == nil || f.number != none {
			continue
		}
		f.number = c.pictures.Add(*image.hash)
		c.firsts = append(c.firsts, pictureAt{r.at, image.path})
		c.files[image.file] = f
	}
}

// takeBenchmark looks for a row's pictures in a benchmark; the first that is found stands for the row.
func (c *likeCheck) takeBenchmark(r rowSeen, b *alike.Benchmark, found *AgainstChecked, shared map[string]bool) {
	ways := [...]*Likeness{alike.ByNumber: &found.ByNumber, alike.ByName: &found.ByName, alike.ByHash: &found.ByHash}
	said := false
	for _, image := range r.images {
		m, ok := b.Picture(image.whole, image.hash)
		if !ok {
			continue
		}
		if name := cmp.Or(image.file, image.path); !shared[name] {
			shared[name] = true
			ways[m.By].Files++
		}
		if said {
			continue
		}
		l := r.like(image.path, origin(b, m.Place))
		if m.By == alike.ByHash {
			l.Distance = &m.Distance
		}
		ways[m.By].add(l)
		c.drop(r, DropAgainst)
		said = true
	}
}
