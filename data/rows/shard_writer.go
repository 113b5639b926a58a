package rows

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// ShardRow is a row to be written. Its images hold files, or prepared images in shards with pixels.
type ShardRow struct {
	Record  Record
	DataSet string // name of its original data set, for people who inspect the shards
	Tokens  int    // positions of the sample, 0 for a row that cannot be used
	Fault   string // why the row cannot be read, "" if it can; reading it from the shards returns this error
}

// ShardOptions says what is written, and where.
type ShardOptions struct {
	Dir    string
	Origin string  // identifies the content that the rows are made of: shards of different origins are not mixed
	Pixels *Pixels // how the images are prepared, nil for files
	Bytes  int64   // a shard ends with the row that reaches this size
}

// FinishedShards counts the complete shards, verified by their hashes, and their rows. complete means that no shard
// after them is missing.
func FinishedShards(o ShardOptions) (shards, rows int, complete bool, err error) {
	defer failure.MarkInput(&err)
	for ; !complete; shards++ {
		dir := shardName(o.Dir, shards)
		if err := checkpoints.Verify(dir); err != nil {
			if failure.IsStorage(err) {
				return 0, 0, false, err
			}
			if damaged := !errors.Is(err, fs.ErrNotExist); damaged || shards > 0 {
				return shards, rows, false, nil // this shard and those after it are written again
			}
			return 0, 0, false, checkEmpty(o.Dir)
		}
		one, err := openShard(dir)
		if err != nil {
			return shards, rows, false, err
		}
		one.file.Close()
		if one.Origin != o.Origin {
			return shards, rows, false, fmt.Errorf(
				"folder %q holds shards of different data, or prepared differently: "+
					"choose another folder or remove it", o.Dir)
		}
		rows, complete = rows+len(one.rows.Sums), one.Last
	}
	return shards, rows, complete, nil
}

// checkEmpty refuses a folder that contains other files.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		if ok, _ := filepath.Match(".*shard-*", "."+entry.Name()); !ok {
			return fmt.Errorf("folder %q holds %q, which is not a shard: choose an empty folder", dir, entry.Name())
		}
	}
	return nil
}

// WriteShards writes rows into shards, from shard number shards on; rows before that number are already in earlier
// shards. Each shard appears when it is complete. An error among the rows ends it, and the current shard is lost.
func WriteShards(o ShardOptions, shards, before int, rows iter.Seq2[ShardRow, error]) error {
	next, stop := iter.Pull2(rows)
	defer stop()
	row, err, more := next()
	for ; more; shards++ {
		publish := checkpoints.Publish(shardName(o.Dir, shards), func(tmp string) error {
			w, create := newShardWriter(tmp)
			if create != nil {
				return create
			}
			defer w.file.Close()
			for ; more && (len(w.places.Sums) == 0 || w.at < o.Bytes); row, err, more = next() {
				if err != nil {
					return err
				}
				if err := w.add(row); err != nil {
					return err
				}
			}
			return w.finish(shardHeader{Origin: o.Origin, Pixels: o.Pixels, First: before, Last: !more})
		})
		if publish != nil {
			return publish
		}
		written, err := openShard(shardName(o.Dir, shards))
		if err != nil {
			return err
		}
		written.file.Close()
		before += len(written.rows.Sums)
	}
	return nil
}

// shardWriter fills the folder of one shard.
type shardWriter struct {
	dir    string
	file   *os.File
	buffer *bufio.Writer
	batch  bytes.Buffer // the last output of the Arrow writer
	arrow  *ipc.Writer
	rows   *array.RecordBuilder
	places shardPlaces
	at     int64 // bytes written
}

// imageFields is what shards store of an image: the file, or the prepared pixels.
var imageFields = []arrow.Field{
	{Name: "bytes", Type: arrow.BinaryTypes.Binary, Nullable: true},
	{Name: "path", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "pixels", Type: arrow.BinaryTypes.Binary, Nullable: true}, // [3,S,S]
	{Name: "width", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	{Name: "height", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
}

var shardSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "images", Type: arrow.ListOf(arrow.StructOf(imageFields...)), Nullable: true},
	{Name: "conversations", Type: arrow.ListOf(arrow.StructOf(
		arrow.Field{Name: "from", Type: arrow.BinaryTypes.String, Nullable: true},
		arrow.Field{Name: "value", Type: arrow.BinaryTypes.String, Nullable: true},
		arrow.Field{Name: "train", Type: arrow.FixedWidthTypes.Boolean, Nullable: true})), Nullable: true},
	{Name: "data_set", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "tokens", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	{Name: faultColumn, Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

func newShardWriter(dir string) (*shardWriter, error) {
	file, err := os.OpenFile(filepath.Join(dir, shardRows), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	w := &shardWriter{dir: dir, file: file, buffer: bufio.NewWriterSize(file, 1<<20)}
	w.arrow = ipc.NewWriter(&w.batch, ipc.WithSchema(shardSchema))
	w.rows = array.NewRecordBuilder(memory.NewGoAllocator(), shardSchema)
	return w, nil
}

// add writes a row as one batch.
func (w *shardWriter) add(row ShardRow) error {
	w.places.Lengths = append(w.places.Lengths, modalityLength(row.Record))
	w.places.Tokens = append(w.places.Tokens, int32(row.Tokens))
	if row.Fault != "" {
		row.Record = Record{ID: row.Record.ID}
	}
	w.fill(row)
	batch := w.rows.NewRecord()
	defer batch.Release()
	w.batch.Reset()
	if err := w.arrow.Write(batch); err != nil {
		return err
	}
	text := w.batch.Bytes()
	if w.at == 0 { // the schema comes before the first batch
		schema, err := parseMessage(text)
		if err != nil {
			return err
		}
		w.places.Starts = []int64{int64(schema.size)}
		text = text[schema.size:]
	}
	if len(text) > maxShardRow {
		return failure.Inputf("row %q takes %d bytes, over the limit of %d", row.Record.ID, len(text), maxShardRow)
	}
	w.at += int64(w.batch.Len())
	w.places.Starts = append(w.places.Starts, w.at)
	w.places.Sums = append(w.places.Sums, crc32.Checksum(text, Castagnoli))
	_, err := w.buffer.Write(w.batch.Bytes())
	return err
}

// fill adds a row to the builders, in the order of shardSchema.
func (w *shardWriter) fill(row ShardRow) {
	text := func(b array.Builder, s string) { b.(*array.StringBuilder).Append(s) }
	text(w.rows.Field(0), row.Record.ID)
	images := w.rows.Field(1).(*array.ListBuilder)
	images.Append(true)
	for _, image := range row.Record.Images {
		fillImage(images.ValueBuilder().(*array.StructBuilder), image)
	}
	turns := w.rows.Field(2).(*array.ListBuilder)
	turns.Append(true)
	for _, turn := range row.Record.Turns {
		one := turns.ValueBuilder().(*array.StructBuilder)
		one.Append(true)
		text(one.FieldBuilder(0), turn.Role)
		text(one.FieldBuilder(1), turn.Text)
		if turn.Untrained {
			one.FieldBuilder(2).(*array.BooleanBuilder).Append(false)
		} else {
			one.FieldBuilder(2).AppendNull()
		}
	}
	text(w.rows.Field(3), row.DataSet)
	w.rows.Field(4).(*array.Int32Builder).Append(int32(row.Tokens))
	if row.Fault == "" {
		w.rows.Field(5).AppendNull()
	} else {
		text(w.rows.Field(5), row.Fault)
	}
}

func fillImage(b *array.StructBuilder, image picture.Image) {
	b.Append(true)
	b.FieldBuilder(1).(*array.StringBuilder).Append(image.Path)
	if image.Prepared == nil {
		b.FieldBuilder(0).(*array.BinaryBuilder).Append(image.File)
		for k := 2; k < 5; k++ {
			b.FieldBuilder(k).AppendNull()
		}
		return
	}
	b.FieldBuilder(0).AppendNull()
	b.FieldBuilder(2).(*array.BinaryBuilder).Append(image.Prepared.Pixels)
	b.FieldBuilder(3).(*array.Int32Builder).Append(int32(image.Prepared.Width))
	b.FieldBuilder(4).(*array.Int32Builder).Append(int32(image.Prepared.Height))
}

// finish ends the stream and writes the index.
func (w *shardWriter) finish(header shardHeader) error {
	w.batch.Reset()
	if err := w.arrow.Close(); err != nil {
		return err
	}
	if _, err := w.buffer.Write(w.batch.Bytes()); err != nil {
		return err
	}
	if err := w.buffer.Flush(); err != nil {
		return err
	}
	index, err := json.Marshal(shardFile{shardHeader: header, shardPlaces: w.places})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.dir, shardIndex), index, 0o666)
}
