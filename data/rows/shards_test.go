package rows

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data/datatest"
	"github.com/llavatrain/llavatrain/data/picture"
)

// suiteShards is the suite's rows with their files, as they are written into shards.
func suiteShards() iter.Seq2[ShardRow, error] {
	return func(yield func(ShardRow, error) bool) {
		for i, r := range held(suiteRows()) {
			row := ShardRow{Record: r, DataSet: "rows.json", Tokens: i}
			if i == suiteBad {
				row.Record, row.Fault = Record{ID: row.Record.ID},
					`row 3: conversations[0].from is "tool"; it must be human or user, gpt or assistant, or system`
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// behind is the rows from the nth on.
func behind(rows iter.Seq2[ShardRow, error], n int) iter.Seq2[ShardRow, error] {
	return func(yield func(ShardRow, error) bool) {
		i := 0
		for row, err := range rows {
			if i++; i > n && !yield(row, err) {
				return
			}
		}
	}
}

// smallShards makes three shards of the suite's rows.
func smallShards(t testing.TB, dir string) ShardOptions {
	t.Helper()
	o := ShardOptions{Dir: dir, Origin: "these", Bytes: 3000}
	if err := WriteShards(o, 0, 0, suiteShards()); err != nil {
		t.Fatal(err)
	}
	return o
}

func openShards(t testing.TB, dir string) *Shards {
	t.Helper()
	s, err := OpenShards(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestShardsAreASource(t *testing.T) {
	dir := t.TempDir()
	smallShards(t, dir)
	s := openShards(t, dir)
	if len(s.shards) < 3 || s.Pixels() != nil {
		t.Errorf("%d shards, pixels %v", len(s.shards), s.Pixels())
	}
	checkSource(t, s, held(suiteRows()))
	for i, one := range s.shards {
		if stream := openSource(t, one.file.Name()); stream.Len() != len(one.rows.Sums) {
			t.Errorf("as a data set of Hugging Face, shard %d has %d rows", i, stream.Len())
		}
	}
	other := t.TempDir()
	smallShards(t, other)
	if same := openShards(t, other); same.Fingerprint() != s.Fingerprint() {
		t.Errorf("%s, the same content %s", s.Fingerprint(), same.Fingerprint())
	}
}

func TestShardsWithPixels(t *testing.T) {
	dir := t.TempDir()
	want := picture.Picture{Pixels: []uint8{1, 2, 3}, Width: 640, Height: 480}
	pixels := Pixels{Processor: "{}", Size: 1, Aspect: "pad"}
	rows := func(yield func(ShardRow, error) bool) {
		yield(ShardRow{Record: Record{ID: "a", Images: []picture.Image{{Path: "a.jpg", Prepared: &want}}}}, nil)
	}
	if err := WriteShards(ShardOptions{Dir: dir, Pixels: &pixels, Bytes: 1}, 0, 0, rows); err != nil {
		t.Fatal(err)
	}
	s := openShards(t, dir)
	r, err := s.Record(0)
	if err != nil || len(r.Images) != 1 {
		t.Fatalf("%v, %v", r, err)
	}
	if diff := cmp.Diff(want, *r.Images[0].Prepared); diff != "" || *s.Pixels() != pixels {
		t.Errorf("pixels %v (-want +got):\n%s", s.Pixels(), diff)
	}
}

// What is not trained in a row is not trained in its shard.
func TestShardsKeepUntrainedTurns(t *testing.T) {
	dir := t.TempDir()
	want := Record{ID: "a", Turns: []Turn{{Role: "human", Text: "?"}, {Role: "gpt", Text: "a", Untrained: true},
		{Role: "human", Text: "?"}, {Role: "gpt", Text: "b"}}}
	rows := func(yield func(ShardRow, error) bool) { yield(ShardRow{Record: want}, nil) }
	if err := WriteShards(ShardOptions{Dir: dir, Bytes: 1}, 0, 0, rows); err != nil {
		t.Fatal(err)
	}
	got, err := openShards(t, dir).Record(0)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// A stop between any two rows loses only the current shard; a resumed writer writes the same bytes as one that
// was not stopped.
func TestShardsResume(t *testing.T) {
	whole := t.TempDir()
	smallShards(t, whole)
	for stop := range len(suiteRows()) {
		o := ShardOptions{Dir: t.TempDir(), Origin: "these", Bytes: 3000}
		stopped := errors.New("stopped")
		err := WriteShards(o, 0, 0, func(yield func(ShardRow, error) bool) {
			n := 0
			for row := range suiteShards() {
				if n == stop {
					yield(ShardRow{}, stopped)
					return
				}
				if n++; !yield(row, nil) {
					return
				}
			}
		})
		if !errors.Is(err, stopped) {
			t.Fatal(err)
		}
		shards, rows, complete, err := FinishedShards(o)
		if err != nil || complete || rows > stop {
			t.Fatalf("stopped before row %d: %d rows in %d shards, complete %t, %v", stop, rows, shards, complete, err)
		}
		if err := WriteShards(o, shards, rows, behind(suiteShards(), rows)); err != nil {
			t.Fatal(err)
		}
		if _, _, complete, err = FinishedShards(o); err != nil || !complete {
			t.Errorf("complete %t, %v", complete, err)
		}
		if diff := cmp.Diff(filesIn(t, whole), filesIn(t, o.Dir)); diff != "" {
			t.Errorf("stopped before row %d (-whole +resumed):\n%s", stop, diff)
		}
	}
}

// filesIn is the content of all files of a folder.
func filesIn(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestShardsNoticeEveryFlip: no byte of a row can change without an error that is not the row's own, which would only
// skip it.
func TestShardsNoticeEveryFlip(t *testing.T) {
	dir := t.TempDir()
	o := smallShards(t, dir)
	s := openShards(t, dir)
	path := filepath.Join(shardName(dir, 0), shardRows)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	starts := s.shards[0].rows.Starts
	for at := starts[0]; at < starts[len(starts)-1]; at += 7 {
		content[at] ^= 1
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		content[at] ^= 1
		noticed := false
		for row := range len(starts) - 1 {
			_, err := s.Record(row)
			noticed = noticed || err != nil && !errors.Is(err, picture.ErrRow) &&
				strings.Contains(err.Error(), "checksum differs")
		}
		if !noticed {
			t.Errorf("byte %d changed and nobody noticed", at)
		}
	}
	if shards, rows, _, err := FinishedShards(o); err != nil || shards != 0 || rows != 0 {
		t.Errorf("after a flip: %d shards, %d rows, %v", shards, rows, err)
	}
}

func TestOpenShardsRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"none": {os.RemoveAll, "shard 0 is missing"},
		"last": {func(dir string) error { return os.RemoveAll(shardName(dir, 2)) }, "shard 2 is missing"},
		"cut": {func(dir string) error { return os.Truncate(filepath.Join(shardName(dir, 1), shardRows), 1000) },
			"it is incomplete"},
		"index": {func(dir string) error { return os.Truncate(filepath.Join(shardName(dir, 1), shardIndex), 50) },
			"index.json: invalid character"},
		"other set": {func(dir string) error {
			return WriteShards(ShardOptions{Dir: dir, Bytes: 1 << 20}, 1, 2, suiteShards())
		}, "belongs to a different set"},
		"wrong row": {func(dir string) error { return os.Rename(shardName(dir, 2), shardName(dir, 1)+"x") },
			"shard 2 is missing"},
		"row places": {func(dir string) error {
			return rewrite(filepath.Join(shardName(dir, 0), shardIndex), `"starts":[`, `"starts":[-`)
		}, "row 0 is from byte -"},
	} {
		dir := t.TempDir()
		smallShards(t, dir)
		if err := test.spoil(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenShards(dir); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error is %v, want %q", name, err, test.want)
		}
	}
}

func rewrite(path, from, to string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(strings.Replace(string(content), from, to, 1)), 0o644)
}

// Shards of earlier versions, whose index calls their origin "source", are read, and what was begun with them is
// completed.
func TestShardsWithTheOlderKey(t *testing.T) {
	dir := t.TempDir()
	o := smallShards(t, dir)
	all := len(openShards(t, dir).shards)
	for k := range all {
		shard := shardName(dir, k)
		if err := checkpoints.Verify(shard); err != nil {
			t.Fatal(err)
		}
		index, err := os.ReadFile(filepath.Join(shard, shardIndex))
		if err != nil || !strings.HasPrefix(string(index), `{"origin":"these","pixels":null,"first":`) {
			t.Fatalf("shard %d begins its index with %.80s (%v)", k, index, err)
		}
		if strings.Contains(string(index), "source") {
			t.Errorf("shard %d has the older key: %s", k, index)
		}
		if k%2 == 1 { // one of the later version is among them
			continue
		}
		again := checkpoints.Publish(shard, func(tmp string) error { // with the hashes of what it holds now
			return errors.Join(
				os.CopyFS(tmp, os.DirFS(shard)),
				os.Remove(filepath.Join(tmp, "manifest.json")),
				rewrite(filepath.Join(tmp, shardIndex), `{"origin":"these",`, `{"source":"these",`))
		})
		if again != nil {
			t.Fatal(again)
		}
	}
	shards, rows, complete, err := FinishedShards(o)
	if shards != all || rows != len(suiteRows()) || !complete || err != nil {
		t.Errorf("%d shards, %d rows, complete %t, %v", shards, rows, complete, err)
	}
	checkSource(t, openShards(t, dir), held(suiteRows()))
	o.Origin = "others"
	if _, _, _, err := FinishedShards(o); err == nil || !strings.Contains(err.Error(), "shards of different data") {
		t.Errorf("shards of another origin give %v", err)
	}
}

func TestFinishedShardsRefuses(t *testing.T) {
	dir := t.TempDir()
	o := smallShards(t, dir)
	o.Origin = "others"
	if _, _, _, err := FinishedShards(o); err == nil || !strings.Contains(err.Error(), "shards of different data") {
		t.Errorf("error is %v", err)
	}
	o.Dir = t.TempDir()
	datatest.WriteFile(t, o.Dir, "thesis.tex", "")
	if _, _, _, err := FinishedShards(o); err == nil ||
		!strings.Contains(err.Error(), `"thesis.tex", which is not a shard`) {
		t.Errorf("error is %v", err)
	}
	o.Dir = filepath.Join(o.Dir, "new")
	if shards, rows, complete, err := FinishedShards(o); shards+rows != 0 || complete || err != nil {
		t.Errorf("a new folder: %d, %d, %t, %v", shards, rows, complete, err)
	}
}

// BenchmarkRandomRow reads rows in random order: with files of the size of photos, and with pixels for 336.
func BenchmarkRandomRow(b *testing.B) {
	for name, image := range map[string]picture.Image{
		"holds=file":   {Path: "a.jpg", File: make([]byte, 60_000)},
		"holds=pixels": {Path: "a.jpg", Prepared: &picture.Picture{Pixels: make([]byte, 3*336*336)}},
	} {
		b.Run(name, func(b *testing.B) { benchmarkRandomRow(b, image) })
	}
}

func benchmarkRandomRow(b *testing.B, image picture.Image) {
	const rows = 500
	s := shardsOf(b, rows, func(int) picture.Image { return image })
	i := 0
	for b.Loop() {
		if _, err := s.Record(i * 7919 % rows); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// shardsOf writes n rows with an image each into shards and opens them.
func shardsOf(b *testing.B, n int, image func(i int) picture.Image) *Shards {
	b.Helper()
	dir := b.TempDir()
	many := func(yield func(ShardRow, error) bool) {
		for i := range n {
			record := Record{ID: fmt.Sprint(i), Images: []picture.Image{image(i)}, Turns: suiteRows()[0].Turns}
			if !yield(ShardRow{Record: record}, nil) {
				return
			}
		}
	}
	if err := WriteShards(ShardOptions{Dir: dir, Bytes: 64 << 20}, 0, 0, many); err != nil {
		b.Fatal(err)
	}
	return openShards(b, dir)
}
