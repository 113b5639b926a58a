package rows

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// imageColumn is a table with one row for each form of image, and a conversation as JSON text that begins with the
// question.
func imageColumn(kind arrow.DataType, questions []string, fill func(b array.Builder, row int)) []arrow.Record {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "image", Type: kind, Nullable: true},
		{Name: "conversations", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	row := 0
	return buildTable(schema, make([]Record, len(questions)), func(b *array.RecordBuilder, _ Record) {
		fill(b.Field(0), row)
		appendText(b.Field(1), fmt.Sprintf(`[{"from": "human", "value": %q}, {"from": "gpt", "value": "Yes."}]`,
			questions[row]))
		row++
	})
}

// TestImageColumns: the forms in which tables hold images, nulls included.
func TestImageColumns(t *testing.T) {
	of := func(table string) (questions []string) {
		for _, row := range map[string]string{"struct": "iititi", "binary": "it", "path": "iti"}[table] {
			questions = append(questions, map[rune]string{'i': "<image> Hi?", 't': "Hi?"}[row])
		}
		return questions
	}
	file := []byte("\xff\xd8file")
	tables := map[string][]arrow.Record{
		"struct": imageColumn(imageStruct, of("struct"), func(b array.Builder, row int) {
			s := b.(*array.StructBuilder)
			if row == 2 {
				s.AppendNull()
				return
			}
			s.Append(true)
			if row == 0 || row == 1 {
				s.FieldBuilder(0).(*array.BinaryBuilder).Append(file)
			} else {
				s.FieldBuilder(0).AppendNull()
			}
			switch row {
			case 1, 4, 5:
				s.FieldBuilder(1).AppendNull()
			default:
				appendText(s.FieldBuilder(1), "a.jpg")
			}
		}),
		"binary": imageColumn(arrow.BinaryTypes.Binary, of("binary"), func(b array.Builder, row int) {
			if row == 0 {
				b.(*array.BinaryBuilder).Append(file)
			} else {
				b.AppendNull()
			}
		}),
		"path": imageColumn(arrow.BinaryTypes.String, of("path"), func(b array.Builder, row int) {
			switch row {
			case 0:
				appendText(b, "a.jpg")
			case 1:
				b.AppendNull()
			case 2:
				appendText(b, "../a.jpg")
			}
		}),
	}
	type want struct {
		images []picture.Image
		err    string
		length int32
	}
	wants := map[string][]want{
		"struct": {
			{[]picture.Image{{Path: "a.jpg", File: file}}, "", 3}, {[]picture.Image{{File: file}}, "", 3},
			{nil, "", -2},
			{[]picture.Image{{Path: "a.jpg"}}, "", 3}, {nil, "", -2}, {nil, "", 0},
		},
		"binary": {{[]picture.Image{{File: file}}, "", 3}, {nil, "", -2}},
		"path":   {{paths("a.jpg"), "", 3}, {nil, "", -2}, {nil, `image is "../a.jpg"; it must be a path within`, -1}},
	}
	for name, batches := range tables {
		for kind, path := range map[string]string{"arrow": writeArrow(t, t.TempDir(), batches, false),
			"parquet": writeParquet(t, t.TempDir(), batches)} {
			s := openSource(t, path)
			lengths, err := Lengths(s)
			if err != nil {
				t.Fatal(err)
			}
			for row, want := range wants[name] {
				got, err := s.Record(row)
				if want.err != "" {
					if !errors.Is(err, picture.ErrRow) || !strings.Contains(err.Error(), want.err) {
						t.Errorf("%s, %s row %d: error is %v, want %q", name, kind, row, err, want.err)
					}
				} else if diff := cmp.Diff(want.images, got.Images); err != nil || diff != "" {
					t.Errorf("%s, %s row %d: %v (-want +got):\n%s", name, kind, row, err, diff)
				}
				if want.length != 0 && lengths[row] != want.length {
					t.Errorf("%s, %s row %d: length %d, want %d", name, kind, row, lengths[row], want.length)
				}
			}
		}
	}
}

// A row group of parquet is decoded once for all who ask for it at the time.
func TestGroupCache(t *testing.T) {
	loads := map[int]int{}
	cache := groupCache{load: func(group int) ([]outcomeRow, error) {
		loads[group]++
		return nil, nil
	}}
	for _, group := range []int{0, 1, 2, 3, 0, 4, 0, 1} {
		cache.get(group)
	}
	if diff := cmp.Diff(map[int]int{0: 1, 1: 2, 2: 1, 3: 1, 4: 1}, loads); diff != "" {
		t.Errorf("readings of each group (-want +got):\n%s", diff)
	}
}

func TestTablesWithoutTurns(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	batches := buildTable(schema, make([]Record, 1), func(b *array.RecordBuilder, _ Record) {
		appendText(b.Field(0), "a")
	})
	for _, path := range []string{writeArrow(t, t.TempDir(), batches, true), writeParquet(t, t.TempDir(), batches)} {
		if _, err := Open(path, nil); err == nil ||
			!strings.Contains(err.Error(), "no column conversations or messages") {
			t.Errorf("error is %v", err)
		}
	}
}

// A file that is truncated while it is mapped gives an error instead of ending the process.
func TestArrowFileShrinks(t *testing.T) {
	rows := held(suiteRows())
	rows[5].Images[0].File = make([]byte, 1<<20)
	path := writeArrow(t, t.TempDir(), conversationsTable(rows), false)
	s := openSource(t, path)
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	_, err := s.Record(5)
	requireStorage(t, "a row after the end of the file", err)
}

// A codec that is not supported is named when a file is opened, unless its columns are not read.
func TestCodecsOfParquet(t *testing.T) {
	const want = "lz4_needed.parquet: column id is compressed with LZ4_RAW, which is not supported: " +
		"write the file again"
	if _, err := Open("testdata/lz4_needed.parquet", nil); err == nil || !strings.Contains(err.Error(), want) ||
		!errors.Is(err, failure.ErrInput) {
		t.Errorf("error is %v, want %q", err, want)
	}
	s := openSource(t, "testdata/lz4_unused.parquet")
	for row := range s.Len() {
		if _, err := s.Record(row); err != nil {
			t.Error(err)
		}
	}
}

// TestTablesOfPyarrow reads what pyarrow writes (testdata/tables_make.py).
func TestTablesOfPyarrow(t *testing.T) {
	want := []Record{
		{ID: "one", Images: []picture.Image{{File: []byte("first file")}},
			Turns: []Turn{{Role: "human", Text: "<image>\nWhat is \"this\"?"}, {Role: "gpt", Text: "A cat, é."}}},
		{ID: "two", Turns: []Turn{{Role: "system", Text: "Be kind."}, {Role: "human", Text: "Hi?"},
			{Role: "gpt", Text: "Yes."}}},
		{ID: "three", Images: paths("c.jpg"),
			Turns: []Turn{{Role: "human", Text: "<image>"}, {Role: "gpt", Text: strings.Repeat("long ", 500)}}},
		{ID: "four"},
	}
	files, err := filepath.Glob("testdata/tables_*.[pa]*[tw]")
	if err != nil || len(files) != 8 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, file := range files {
		s := openSource(t, file)
		if s.Len() != len(want) {
			t.Fatalf("%s: %d rows", file, s.Len())
		}
		for row := range want {
			got, err := s.Record(row)
			if strings.Contains(file, "single") {
				want[row].Unused = []string{"score"}
			} else {
				want[row].Unused = nil
			}
			if diff := cmp.Diff(want[row], got); err != nil || diff != "" {
				t.Errorf("%s row %d: %v (-want +got):\n%s", file, row, err, diff)
			}
		}
		lengths, err := Lengths(s)
		if diff := cmp.Diff([]int32{7, -4, 501, -1}, lengths); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", file, err, diff)
		}
	}
}
