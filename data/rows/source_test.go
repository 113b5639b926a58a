package rows

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/data/picture"
)

// The suite that every format passes: the same rows, written in each, are read as the same records.

// suiteFormat writes rows to a new file and returns its path, or a pattern.
type suiteFormat struct {
	name  string
	held  bool // the rows hold their pictures
	score bool // the rows have a column score, which is not read
	write func(t testing.TB, dir string, rows []Record) string
}

var suiteFormats = []suiteFormat{
	{name: "LLaVA JSON", write: func(t testing.TB, dir string, rows []Record) string {
		return datatest.WriteFile(t, dir, "rows.json", "["+strings.Join(jsonRows(rows, llavaRow), ",\n")+"]")
	}},
	{name: "ShareGPT lines", write: func(t testing.TB, dir string, rows []Record) string {
		return datatest.WriteFile(t, dir, "rows.jsonl", "\n"+strings.Join(jsonRows(rows, llavaRow), "\r\n \n")+"\n")
	}},
	{name: "messages", write: func(t testing.TB, dir string, rows []Record) string {
		return datatest.WriteFile(t, dir, "rows.jsonl", strings.Join(jsonRows(rows, messageRow), "\n"))
	}},
	{name: "messages in parts", write: func(t testing.TB, dir string, rows []Record) string {
		return datatest.WriteFile(t, dir, "rows.jsonl", strings.Join(jsonRows(rows, partRow), "\n"))
	}},
	{name: "several files", write: func(t testing.TB, dir string, rows []Record) string {
		datatest.WriteFile(t, dir, "part-2.json", "["+strings.Join(jsonRows(rows[2:], llavaRow), ",\n")+"]")
		datatest.WriteFile(t, dir, "part-1.jsonl", strings.Join(jsonRows(rows[:2], messageRow), "\n"))
		return filepath.Join(dir, "part-*")
	}},
	{name: "arrow stream", held: true, score: true, write: func(t testing.TB, dir string, rows []Record) string {
		return writeArrow(t, dir, conversationsTable(rows), false)
	}},
	{name: "arrow file", held: true, write: func(t testing.TB, dir string, rows []Record) string {
		return writeArrow(t, dir, messagesTable(rows), true)
	}},
	{name: "parquet", held: true, score: true, write: func(t testing.TB, dir string, rows []Record) string {
		return writeParquet(t, dir, conversationsTable(rows))
	}},
	{name: "parquet of messages", held: true, write: func(t testing.TB, dir string, rows []Record) string {
		return writeParquet(t, dir, messagesTable(rows))
	}},
}

// badRow in suiteRows has a role that nobody knows.
const suiteBad = 3

func suiteRows() []Record {
	return []Record{
		{ID: "one", Images: paths("a/1.jpg"),
			Turns: []Turn{
				{Role: "human", Text: "<image>\nWhat \"is\" this?"},
				{Role: "gpt", Text: "A cat \\ é\u2028\t."},
			}},
		{ID: "2", Turns: []Turn{{Role: "system", Text: "Be kind."}, {Role: "human", Text: "Hi?"},
			{Role: "gpt", Text: "Yes."}}},
		{ID: "three", Images: paths("b.png", "c.png"),
			Turns: []Turn{{Role: "human", Text: "<image>\n<image>\nSame?"}, {Role: "gpt", Text: "No."},
				{Role: "human", Text: "Why?"}, {Role: "gpt", Text: "Cat."}}},
		{ID: "bad", Turns: []Turn{{Role: "tool", Text: "?"}, {Role: "gpt", Text: "."}}},
		{ID: "", Images: paths("d.jpg"),
			Turns: []Turn{{Role: "human", Text: "<image>"}, {Role: "gpt", Text: strings.Repeat("long ", 3000)}}},
		{ID: "last", Images: paths("e.jpg"), Turns: nil},
	}
}

// held is rows whose images are in the rows.
func held(rows []Record) []Record {
	for r := range rows {
		for i := range rows[r].Images {
			rows[r].Images[i].File = []byte("the file of " + rows[r].Images[i].Path)
		}
	}
	return rows
}

func (f suiteFormat) rows() []Record {
	rows := suiteRows()
	if f.held {
		rows = held(rows)
	}
	for i := range rows {
		if f.score {
			rows[i].Unused = []string{"score"}
		}
	}
	return rows
}

func openSource(t testing.TB, path string) Source {
	t.Helper()
	s, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func checkRecord(t testing.TB, s Source, row int, want Record) {
	t.Helper()
	got, err := s.Record(row)
	if row == suiteBad {
		if !errors.Is(err, picture.ErrRow) || !strings.Contains(err.Error(), "is \"tool\"; it must be") ||
			got.ID != "bad" || strings.HasPrefix(err.Error(), "row 3") {
			t.Errorf("row %d: error is %v", row, err)
		}
		return
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("row %d: %v (-want +got):\n%s", row, err, diff)
	}
}

// checkSource holds a source to the suite's rows.
func checkSource(t *testing.T, s Source, want []Record) {
	if s.Len() != len(want) {
		t.Fatalf("%d rows, want %d", s.Len(), len(want))
	}
	t.Run("any order, at once", func(t *testing.T) {
		var wait sync.WaitGroup
		for worker := range 4 {
			wait.Go(func() {
				for _, row := range rand.New(rand.NewPCG(1, uint64(worker))).Perm(len(want)) {
					checkRecord(t, s, row, want[row])
				}
			})
		}
		wait.Wait()
	})
	t.Run("lengths", func(t *testing.T) {
		got, err := Lengths(s)
		if diff := cmp.Diff([]int32{9, -4, 6, -1, 3001, 1}, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}

func TestSources(t *testing.T) {
	for _, format := range suiteFormats {
		t.Run(format.name, func(t *testing.T) {
			want := format.rows()
			path := format.write(t, t.TempDir(), want)
			s := openSource(t, path)
			checkSource(t, s, want)
			t.Run("fingerprint", func(t *testing.T) {
				if same := openSource(t, format.write(t, t.TempDir(), want)); same.Fingerprint() != s.Fingerprint() {
					t.Errorf("%s, the same content %s", s.Fingerprint(), same.Fingerprint())
				}
				want[1].Turns[2].Text = "A longer answer."
				if other := openSource(t, format.write(t, t.TempDir(), want)); other.Fingerprint() == s.Fingerprint() {
					t.Errorf("%s for two contents", s.Fingerprint())
				}
			})
		})
	}
}

// A file that lost its end is refused when it is opened, wherever it was cut; only JSON Lines cut exactly between two
// lines are whole.
func TestSourcesRefuseCutFiles(t *testing.T) {
	for _, format := range suiteFormats {
		if format.name == "several files" {
			continue
		}
		t.Run(format.name, func(t *testing.T) {
			dir := t.TempDir()
			content, err := os.ReadFile(format.write(t, dir, format.rows()))
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "cut")
			for end := 0; end < len(content)-1; end += 1 + len(content)/200 {
				if bytes.HasSuffix(bytes.TrimRight(content[:end], " \r\n"), []byte("}")) {
					continue
				}
				if err := os.WriteFile(path, content[:end], 0o644); err != nil {
					t.Fatal(err)
				}
				if s, err := Open(path, nil); err == nil {
					t.Errorf("cut to %d of %d bytes: opened with %d rows", end, len(content), s.Len())
				} else if !strings.Contains(err.Error(), path) {
					t.Errorf("cut to %d bytes: %v does not name the file", end, err)
				}
			}
		})
	}
}

// An error of a row in several files says where it is; that of a single file leaves the number to its callers.
func TestRowErrorsSayWhere(t *testing.T) {
	dir := t.TempDir()
	one := datatest.WriteFile(t, dir, "part-1.jsonl", `{"id": "a", "messages": []}`)
	datatest.WriteFile(t, dir, "part-2.jsonl", `{"id": "b", "messages": []}`+"\n"+`{"messages": 1, "id": "c"}`)
	r, err := openSource(t, filepath.Join(dir, "part-*")).Record(2)
	const want = "row 1 of part-2.jsonl: messages is a number; it must be a list of turns"
	if r.ID != "c" || !errors.Is(err, picture.ErrRow) || err.Error() != want {
		t.Errorf("%+v, error is %v, want %q", r, err, want)
	}
	if r, err := openSource(t, one).Record(0); err != nil || r.ID != "a" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for content, want := range map[string]string{
		"":                      "it is empty",
		" \n":                   "it is empty",
		"hello":                 `it begins with "hello", which is not a supported data set format`,
		"{\n\"id\": 1\n}":       "its first line is not a complete JSON object",
		"{\"id\": 1}\n{\"id\":": "the file ends within row 1: it is incomplete",
	} {
		if _, err := Open(datatest.WriteFile(t, dir, "rows", content), nil); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v, want %q", content, err, want)
		}
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "*.parquet"): "matches no file",
		filepath.Join(dir, "none.json"): "no such file",
		dir:                             "not a regular file",
	} {
		if _, err := Open(path, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q", path, err, want)
		}
	}
}

func jsonRows(rows []Record, spell func(Record) any) (texts []string) {
	for _, r := range rows {
		text, _ := json.Marshal(spell(r))
		texts = append(texts, string(text))
	}
	return texts
}

func imagePaths(r Record) (paths []string) {
	for _, image := range r.Images {
		paths = append(paths, image.Path)
	}
	return paths
}

func llavaRow(r Record) any {
	row := map[string]any{"id": r.ID}
	var turns = []map[string]string{}
	for _, turn := range r.Turns {
		turns = append(turns, map[string]string{"from": turn.Role, "value": turn.Text})
	}
	row["conversations"] = turns
	switch list := imagePaths(r); len(list) {
	case 0:
	case 1:
		row["image"] = list[0]
	default:
		row["image"] = list
	}
	return row
}

// apiRoles is the other names of roles.
var apiRoles = map[string]string{"human": "user", "gpt": "assistant", "system": "system", "tool": "tool"}

func messageRow(r Record) any {
	row := map[string]any{"id": r.ID, "images": append([]string{}, imagePaths(r)...)}
	turns := []map[string]string{}
	for _, turn := range r.Turns {
		turns = append(turns, map[string]string{"role": apiRoles[turn.Role], "content": turn.Text})
	}
	row["messages"] = turns
	return row
}

// partRow writes every image as a part in one of its spellings.
func partRow(r Record) any {
	turns := []map[string]any{}
	left := imagePaths(r)
	for _, turn := range r.Turns {
		var parts []map[string]any
		for _, line := range strings.Split(turn.Text, "\n") {
			if line != ImageMark {
				parts = append(parts, map[string]any{"type": "text", "text": line, "image_url": nil})
				continue
			}
			spellings := []map[string]any{
				{"type": "image", "image": left[0], "text": nil},
				{"type": "image_url", "image_url": map[string]string{"url": left[0]}},
				{"type": "image_url", "image_url": left[0]},
			}
			parts = append(parts, spellings[len(left)%3])
			left = left[1:]
		}
		turns = append(turns, map[string]any{"role": apiRoles[turn.Role], "content": parts})
	}
	row := map[string]any{"id": r.ID, "messages": turns}
	if len(left) > 0 {
		row["images"] = left // of a row without marks
	}
	return row
}

// table is Arrow's columns for rows, and how its builders are filled with one.
func buildTable(schema *arrow.Schema, rows []Record, fill func(b *array.RecordBuilder, r Record)) []arrow.Record {
	var batches []arrow.Record
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	for i, r := range rows {
		fill(b, r)
		if i == 2 || i == len(rows)-1 { // batches of different lengths
			batches = append(batches, b.NewRecord())
		}
	}
	return batches
}

var imageStruct = arrow.StructOf(
	arrow.Field{Name: "bytes", Type: arrow.BinaryTypes.Binary, Nullable: true},
	arrow.Field{Name: "path", Type: arrow.BinaryTypes.String, Nullable: true})

func turnStruct(role, text string, kind arrow.DataType) arrow.DataType {
	return arrow.ListOf(arrow.StructOf(
		arrow.Field{Name: role, Type: arrow.BinaryTypes.String, Nullable: true},
		arrow.Field{Name: text, Type: kind, Nullable: true}))
}

func appendImage(b *array.StructBuilder, image picture.Image) {
	b.Append(true)
	b.FieldBuilder(0).(*array.BinaryBuilder).Append(image.File)
	b.FieldBuilder(1).(*array.StringBuilder).Append(image.Path)
}

func appendText(b array.Builder, text string) { b.(*array.StringBuilder).Append(text) }

// conversationsTable has lists of images, a column that nobody reads, and from and value.
func conversationsTable(rows []Record) []arrow.Record {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "images", Type: arrow.ListOf(imageStruct), Nullable: true},
		{Name: "score", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "id", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "conversations", Type: turnStruct("from", "value", arrow.BinaryTypes.String), Nullable: true},
	}, nil)
	return buildTable(schema, rows, func(b *array.RecordBuilder, r Record) {
		images := b.Field(0).(*array.ListBuilder)
		images.Append(true)
		for _, image := range r.Images {
			appendImage(images.ValueBuilder().(*array.StructBuilder), image)
		}
		b.Field(1).AppendNull()
		appendText(b.Field(2), r.ID)
		turns := b.Field(3).(*array.ListBuilder)
		turns.Append(true)
		for _, turn := range r.Turns {
			one := turns.ValueBuilder().(*array.StructBuilder)
			one.Append(true)
			appendText(one.FieldBuilder(0), turn.Role)
			appendText(one.FieldBuilder(1), turn.Text)
		}
	})
}

// messagesTable has role, and content in parts of type and text, as Hugging Face's chat data sets; images as above.
func messagesTable(rows []Record) []arrow.Record {
	part := arrow.ListOf(arrow.StructOf(
		arrow.Field{Name: "type", Type: arrow.BinaryTypes.String, Nullable: true},
		arrow.Field{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true}))
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "messages", Type: turnStruct("role", "content", part), Nullable: true},
		{Name: "id", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "images", Type: arrow.ListOf(imageStruct), Nullable: true},
	}, nil)
	return buildTable(schema, rows, func(b *array.RecordBuilder, r Record) {
		turns := b.Field(0).(*array.ListBuilder)
		turns.Append(true)
		for _, turn := range r.Turns {
			one := turns.ValueBuilder().(*array.StructBuilder)
			one.Append(true)
			appendText(one.FieldBuilder(0), apiRoles[turn.Role])
			parts := one.FieldBuilder(1).(*array.ListBuilder)
			parts.Append(true)
			for _, line := range strings.Split(turn.Text, "\n") {
				p := parts.ValueBuilder().(*array.StructBuilder)
				p.Append(true)
				if line == ImageMark {
					appendText(p.FieldBuilder(0), "image")
					p.FieldBuilder(1).AppendNull()
					continue
				}
				appendText(p.FieldBuilder(0), "text")
				appendText(p.FieldBuilder(1), line)
			}
		}
		appendText(b.Field(1), r.ID)
		images := b.Field(2).(*array.ListBuilder)
		if len(r.Images) == 0 {
			images.AppendNull()
			return
		}
		images.Append(true)
		for _, image := range r.Images {
			appendImage(images.ValueBuilder().(*array.StructBuilder), image)
		}
	})
}

func writeArrow(t testing.TB, dir string, batches []arrow.Record, footer bool) string {
	t.Helper()
	var content bytes.Buffer
	var w interface {
		Write(arrow.Record) error
		Close() error
	} = ipc.NewWriter(&content, ipc.WithSchema(batches[0].Schema()))
	if footer {
		file, err := ipc.NewFileWriter(&seekBuffer{&content}, ipc.WithSchema(batches[0].Schema()))
		if err != nil {
			t.Fatal(err)
		}
		w = file
	}
	for _, batch := range batches {
		if err := w.Write(batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return datatest.WriteFile(t, dir, "rows.arrow", content.String())
}

// seekBuffer lets the file writer ask where it is.
type seekBuffer struct{ *bytes.Buffer }

func (b *seekBuffer) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != 1 {
		return 0, fmt.Errorf("seek to %d, %d", offset, whence)
	}
	return int64(b.Len()), nil
}

func writeParquet(t testing.TB, dir string, batches []arrow.Record) string {
	t.Helper()
	var content bytes.Buffer
	w, err := pqarrow.NewFileWriter(batches[0].Schema(), &content,
		parquet.NewWriterProperties(parquet.WithMaxRowGroupLength(2)), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	for _, batch := range batches {
		if err := w.Write(batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return datatest.WriteFile(t, dir, "rows.parquet", content.String())
}
