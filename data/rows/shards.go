package rows

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"regexp"
	"sort"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Shards is a folder that WriteShards wrote: rows with their images, each at a known offset, so that reading a row is
// one read. It takes 20 bytes of memory per row.
//
// A shard is a folder of three files: rows.arrow, an Arrow stream with one row in each record batch (other programs
// read it as a Hugging Face data set); index.json with the offsets of the rows; manifest.json with the hashes of both
// (checkpoints.Verify).
type Shards struct {
	dir    string
	shards []*shard
	ends   []int // rows up to and including each shard
}

// Pixels says how images in shards were prepared: such shards suit training that prepares images in the same way.
type Pixels struct {
	Processor string `json:"processor"`       // contents of preprocessor_config.json
	Size      int    `json:"size"`            // side of the square
	Aspect    string `json:"image"`           // the recipe's key image
	Tiles     string `json:"tiles,omitempty"` // with image: anyres, how they are cut

	Orientation string `json:"orientation,omitempty"` // exif: turned by their EXIF orientation
}

const (
	shardRows  = "rows.arrow"
	shardIndex = "index.json"
)

// shard is one folder.
type shard struct {
	shardHeader
	file   *os.File
	schema *arrow.Schema
	rows   shardPlaces
}

// shardHeader says which set a shard is part of.
type shardHeader struct {
	Origin string  `json:"origin"` // identifies what the shards are made of; the same in all shards of a set
	Pixels *Pixels `json:"pixels"` // null: the rows hold the original files
	First  int     `json:"first"`  // number of its first row in the set
	Last   bool    `json:"last"`   // whether it is the last of the set
}

// shardPlaces has one entry per row unless noted.
type shardPlaces struct {
	Starts  []int64  `json:"starts"` // start of each row's message, and the end of the last
	Sums    []uint32 `json:"crc32c"` // of each row's message
	Lengths []int32  `json:"words"`  // as Lengths counts
	Tokens  []int32  `json:"tokens"` // positions of the sample, 0 for a row that cannot be used
}

type shardFile struct {
	shardHeader
	shardPlaces
	Source string `json:"source,omitempty"` // only read: earlier versions' name for origin
}

// OpenShards opens finished shards. Only the indices are read: each row is checked when it is read.
func OpenShards(dir string) (_ *Shards, err error) {
	defer failure.MarkInput(&err)
	s := &Shards{dir: dir}
	for k := 0; len(s.shards) == 0 || !s.shards[len(s.shards)-1].Last; k++ {
		one, err := openShard(shardName(dir, k))
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("shard %d is missing: the folder has no shards, or not all of them; "+
				"run llavatrain shard, which resumes where it stopped", k)
		}
		if err == nil {
			s.shards = append(s.shards, one)
			err = s.join(one)
		}
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("shards %q: %w", dir, err)
		}
	}
	return s, nil
}

func shardName(dir string, number int) string {
	return filepath.Join(dir, fmt.Sprintf("shard-%05d", number))
}

// join adds the newest shard, and checks it against those before.
func (s *Shards) join(one *shard) error {
	if first := s.shards[0]; one.First != s.Len() || one.Origin != first.Origin {
		return fmt.Errorf("shard %d belongs to a different set than those before it", len(s.shards)-1)
	}
	s.ends = append(s.ends, s.Len()+len(one.rows.Sums))
	return nil
}

func openShard(dir string) (*shard, error) {
	text, err := os.ReadFile(filepath.Join(dir, shardIndex))
	if err != nil {
		return nil, err
	}
	var content shardFile
	if err := json.Unmarshal(text, &content); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, shardIndex), err)
	}
	content.Origin = cmp.Or(content.Origin, content.Source)
	one := &shard{shardHeader: content.shardHeader, rows: content.shardPlaces}
	if err := one.rows.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, shardIndex), err)
	}
	if one.file, err = os.Open(filepath.Join(dir, shardRows)); err != nil {
		return nil, err
	}
	if err := one.readHead(); err != nil {
		one.file.Close()
		return nil, fmt.Errorf("%s: %w", one.file.Name(), err)
	}
	return one, nil
}

// check compares the lists of an index with each other.
func (p shardPlaces) check() error {
	rows := len(p.Sums)
	if rows == 0 || len(p.Starts) != rows+1 || len(p.Lengths) != rows || len(p.Tokens) != rows {
		return errors.New("its lists are empty or differ in length")
	}
	for i := range rows {
		if p.Starts[i] < 0 || p.Starts[i+1] <= p.Starts[i] || p.Starts[i+1]-p.Starts[i] > maxShardRow {
			return fmt.Errorf("row %d is from byte %d to %d", i, p.Starts[i], p.Starts[i+1])
		}
	}
	return nil
}

// maxShardRow limits what is allocated for a row: images up to their own limit, and text.
const maxShardRow = 1 << 30

// readHead reads the schema, which comes before the first row.
func (one *shard) readHead() error {
	info, err := one.file.Stat()
	if err != nil {
		return err
	}
	end := one.rows.Starts[len(one.rows.Sums)]
	if info.Size() < end || info.Size() > end+8 { // an Arrow stream's end marker
		return fmt.Errorf("%d bytes, but its index says %d and an end marker: it is incomplete", info.Size(), end)
	}
	head := make([]byte, one.rows.Starts[0])
	if _, err := one.file.ReadAt(head, 0); err != nil {
		return err
	}
	one.schema, _, err = readSchema(head)
	return err
}

// Len is the number of rows.
func (s *Shards) Len() int {
	if len(s.ends) == 0 {
		return 0
	}
	return s.ends[len(s.ends)-1]
}

// Pixels says how the images were prepared; nil if they are files.
func (s *Shards) Pixels() *Pixels { return s.shards[0].Pixels }

// Record reads a row with one disk read and verifies its checksum. A row that could not be read when the shards were
// written returns the error that it gave then.
func (s *Shards) Record(row int) (Record, error) {
	k := sort.SearchInts(s.ends, row+1)
	one := s.shards[k]
	r, err := one.record(row - one.First)
	if err != nil && !errors.Is(err, picture.ErrRow) {
		err = failure.Inputf("row %d: %s: %w", row, one.file.Name(), err)
	}
	return r, err
}

func (one *shard) record(row int) (Record, error) {
	start, end := one.rows.Starts[row], one.rows.Starts[row+1]
	text := make([]byte, end-start)
	if _, err := one.file.ReadAt(text, start); err != nil {
		return Record{}, err
	}
	if crc32.Checksum(text, Castagnoli) != one.rows.Sums[row] {
		return Record{}, errors.New("its checksum differs: the file is damaged; " +
			"delete the folder of this shard and run llavatrain shard again")
	}
	m, err := parseMessage(text)
	if err != nil {
		return Record{}, err
	}
	c, err := m.columns(one.schema)
	if err != nil {
		return Record{}, err
	}
	values, err := c.row(0, shared)
	if err != nil {
		return Record{}, err
	}
	r, err := values.record()
	if fault, ok := values.get(faultColumn).(string); ok {
		return Record{ID: r.ID}, picture.BadRow("%s", numbered.ReplaceAllString(fault, ""))
	}
	return r, err
}

// faultColumn stores why a row cannot be used. It is null for usable rows.
const faultColumn = "fault"

// numbered is how faults begin in shards that llavatrain wrote when a row's error held its number.
var numbered = regexp.MustCompile(`^row \d+: `)

// lengths returns the Lengths computed when the shards were written.
func (s *Shards) lengths() (all []int32) {
	for _, one := range s.shards {
		all = append(all, one.rows.Lengths...)
	}
	return all
}

// Fingerprint covers the checksums of all rows.
func (s *Shards) Fingerprint() string {
	sum := crc32.New(Castagnoli)
	for _, one := range s.shards {
		for i, row := range one.rows.Sums {
			fmt.Fprintf(sum, "%d %d\n", row, one.rows.Starts[i+1])
		}
	}
	return fmt.Sprintf("%d-%08x", s.Len(), sum.Sum32())
}

// Close frees the files.
func (s *Shards) Close() error {
	var errs []error
	for _, one := range s.shards {
		errs = append(errs, one.file.Close())
	}
	return errors.Join(errs...)
}
