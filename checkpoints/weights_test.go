package checkpoints

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenParity(t *testing.T) {
	files := 0
	err := filepath.WalkDir(parity(t, "."), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".safetensors" {
			return err
		}
		files++
		for name, tensor := range tensors(t, open(t, path)) {
			if int64(len(tensor.Data)) != tensor.Bytes() {
				t.Errorf("%s: %s has %d bytes, %v", path, name, len(tensor.Data), tensor.Info)
			}
		}
		return nil
	})
	if err != nil || files < 13 {
		t.Fatalf("%d files, 13 expected: %v", files, err)
	}
}

func TestOpenFolderParity(t *testing.T) {
	for folder, count := range map[string]int{"clip": 71, "llm": 30, "llava-original": 105, "llava-hf": 105,
		"stage1": 4} {
		if got := len(open(t, parity(t, folder)).Names()); got != count {
			t.Errorf("%s: %d tensors, %d expected", folder, got, count)
		}
	}
}

// The projector that the original saved with torch.save is the one that the recorder saved as safetensors.
func TestTorchFileParity(t *testing.T) {
	got := open(t, parity(t, "stage1/mm_projector.bin"))
	want := open(t, parity(t, "stage1-final.safetensors"))
	wantEqual(t, tensors(t, got), tensors(t, want))
}

func TestOpenFolder(t *testing.T) {
	a, b := tensor("a", F32, 2, 3), tensor("b", BF16, 5)
	index := `{"metadata":{"total_size":34},"weight_map":{"a":"x-2.safetensors","b":"x-1.bin"}}`
	dir := t.TempDir()
	shards := func() {
		// this b is not in the index
		must(t, WriteSafetensors(filepath.Join(dir, "x-2.safetensors"), nil, []Tensor{a, tensor("b", F32)}))
		writeTorch(t, filepath.Join(dir, "x-1.bin"), b)
	}
	one := func(name string, t1 Tensor) func() {
		return func() { must(t, WriteSafetensors(filepath.Join(dir, name), nil, []Tensor{t1})) }
	}
	// From the last choice to the first: each file added takes precedence over those before it.
	for _, step := range []struct {
		add  func()
		want []Tensor
	}{
		{func() { writeTorch(t, filepath.Join(dir, "mm_projector.bin"), b) }, []Tensor{b}},
		{one("mm_projector.safetensors", a), []Tensor{a}},
		{func() { writeTorch(t, filepath.Join(dir, "pytorch_model.bin"), b) }, []Tensor{b}},
		{func() { shards(); write(t, filepath.Join(dir, "pytorch_model.bin.index.json"), []byte(index)) },
			[]Tensor{a, b}},
		{one("model.safetensors", b), []Tensor{b}},
		{func() { write(t, filepath.Join(dir, "model.safetensors.index.json"), []byte(index)) }, []Tensor{a, b}},
	} {
		step.add()
		want := map[string]Tensor{}
		for _, t := range step.want {
			want[t.Name] = t
		}
		wantEqual(t, tensors(t, open(t, dir)), want)
	}
}

func TestOpenFollowsLinks(t *testing.T) { // the local hub cache is made of them
	dir := t.TempDir()
	must(t, WriteSafetensors(filepath.Join(dir, "blob"), nil, []Tensor{tensor("a", F32, 1)}))
	must(t, os.Symlink("blob", filepath.Join(dir, "model.safetensors")))
	wantEqual(t, open(t, dir).Names(), []string{"a"})
}

// The shards of an index are links if the index is one (a snapshot of the hub cache), or lead to its blobs (folders
// that older versions of huggingface_hub filled), or stay in the folder.
func TestIndexFollowsLinks(t *testing.T) {
	root := t.TempDir()
	blobs, snapshot, filled, own := filepath.Join(root, "models--a--b", "blobs"),
		filepath.Join(root, "models--a--b", "snapshots", "c"),
		filepath.Join(root, "filled"), filepath.Join(root, "own")
	linked := filepath.Join(root, "linked") // to another disk, say
	for _, dir := range []string{blobs, snapshot, filled, filepath.Join(own, "parts"), linked} {
		must(t, os.MkdirAll(dir, 0o777))
	}
	x, index := tensor("a", F32, 1), []byte(`{"weight_map":{"a":"s"}}`)
	for _, path := range []string{filepath.Join(blobs, "111"), filepath.Join(own, "parts", "s")} {
		must(t, WriteSafetensors(path, nil, []Tensor{x}))
	}
	const name = "model.safetensors.index.json"
	for _, path := range []string{filepath.Join(blobs, "222"), filepath.Join(filled, name), filepath.Join(own, name)} {
		write(t, path, index)
	}
	for link, target := range map[string]string{
		filepath.Join(snapshot, name): "../../blobs/222", filepath.Join(snapshot, "s"): "../../blobs/111",
		filepath.Join(filled, "s"): filepath.Join(blobs, "111"), filepath.Join(own, "s"): "parts/s",
		filepath.Join(root, "main"): snapshot,
		filepath.Join(linked, name): filepath.Join(own, name), filepath.Join(linked, "s"): filepath.Join(own, "s"),
	} {
		must(t, os.Symlink(target, link))
	}
	for _, dir := range []string{snapshot, filled, own, linked, filepath.Join(root, "main")} {
		wantEqual(t, tensors(t, open(t, dir)), map[string]Tensor{"a": x})
	}
}

func TestOpenErrors(t *testing.T) {
	legacy := "\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
	shard := func(dir string) {
		must(t, WriteSafetensors(filepath.Join(dir, "s"), nil, []Tensor{tensor("a", F32, 1)}))
	}
	index := func(text string) func(string) {
		return func(dir string) {
			shard(dir)
			write(t, filepath.Join(dir, "model.safetensors.index.json"), []byte(text))
		}
	}
	link := func(target string) func(string) {
		return func(dir string) {
			index(`{"weight_map":{"a":"link"}}`)(dir)
			must(t, os.Symlink(target, filepath.Join(dir, "link")))
		}
	}
	outside := filepath.Join(t.TempDir(), "private.safetensors")
	must(t, WriteSafetensors(outside, nil, []Tensor{tensor("a", F32, 1)}))
	hostile := new(pickler).op(0x80, 2).global("os", "system").op('(').text("id").op('t', 'R', '.').Bytes()
	file := func(text string) func(string) {
		return func(dir string) { write(t, filepath.Join(dir, "model.safetensors"), []byte(text)) }
	}
	for name, c := range map[string]struct {
		make func(dir string)
		want []string
	}{
		"empty folder": {func(string) {},
			[]string{"model.safetensors.index.json", "pytorch_model.bin,", "mm_projector.bin"}},
		"empty file": {file(""), []string{"model.safetensors", "0 bytes"}},
		"web page":   {file("<!DOCTYPE html><html>"), []string{"is this a safetensors file?"}},
		"git lfs": {file("version https://git-lfs.github.com/spec/v1\noid"),
			[]string{"git lfs pull"}},
		"old torch": {file(legacy), []string{"PyTorch before 1.6"}},
		"a program under weights' name": {file(string(torchZip(hostile, nil))),
			[]string{"model.safetensors", `refused to run "system" of "os"`}},
		"pipe": {func(dir string) {
			must(t,
				unix.Mkfifo(filepath.Join(dir, "model.safetensors"), 0o600))
		}, []string{"regular file"}},
		"missing shard": {index(`{"weight_map":{"a":"gone.safetensors"}}`),
			[]string{"index.json", "gone.safetensors", "no such file", "download it again"}},
		"link out of the folder": {link(outside),
			[]string{"index.json", "is a link out of the folder", "private.safetensors",
				"replace it with the file itself"}},
		"link up": {link("../" + filepath.Base(outside)),
			[]string{"no such file", "download it again"}},
		"link to nothing":  {link("gone"), []string{"gone", "no such file", "download it again"}},
		"link to itself":   {link("link"), []string{`link"`, "too many links"}},
		"link to a folder": {link("."), []string{"not a regular file"}},
		"folder for a shard": {func(dir string) {
			index(`{"weight_map":{"a":"d"}}`)(dir)
			must(t, os.Mkdir(filepath.Join(dir, "d"), 0o777))
		}, []string{`d"`, "not a regular file"}},
		"missing tensor":   {index(`{"weight_map":{"a":"s","b":"s"}}`), []string{`"b"`, `"s"`}},
		"no weight_map":    {index(`{}`), []string{"weight_map"}},
		"empty weight_map": {index(`{"weight_map":{}}`), []string{"weight_map"}},
		"weight_map twice": {index(`{"weight_map":{"a":"s"},"weight_map":{"a":"s"}}`), []string{"twice"}},
		"tensor twice":     {index(`{"weight_map":{"a":"s","a":"s"}}`), []string{`"a"`, "twice"}},
		"path up": {index(`{"weight_map":{"a":"../s"}}`),
			[]string{`"../s"`, "plain name", "put the file here"}},
		"absolute path":     {index(`{"weight_map":{"a":"/etc/passwd"}}`), []string{"plain name"}},
		"parent":            {index(`{"weight_map":{"a":".."}}`), []string{"plain name"}},
		"backslash":         {index(`{"weight_map":{"a":"x\\s"}}`), []string{"plain name"}},
		"NUL":               {index(`{"weight_map":{"a":"s\u0000"}}`), []string{"plain name"}},
		"number for a name": {index(`{"weight_map":{"a":1}}`), []string{"want a string"}},
		"other case":        {index(`{"Weight_Map":{"a":"s"}}`), []string{"weight_map"}},
		"index cut short":   {index(`{"weight_map":{"a":"s"`), []string{"unexpected EOF"}},
		"more after it":     {index(`{"weight_map":{"a":"s"}}{}`), []string{"unexpected data"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.make(dir)
			w, err := Open(dir)
			if err == nil {
				w.Close()
			}
			wantError(t, err, c.want...)
		})
	}
	_, err := Open(filepath.Join(t.TempDir(), "nowhere"))
	wantError(t, err, "nowhere", "no such file")
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":34},"weight_map":{"a":"x-1.safetensors","b":"x-2.bin"}}`))
	f.Add([]byte(`{"weight_map":{"a":"../s"}}`))
	f.Add([]byte(`{"weight_map":{"a":"s","a":"s"},"x":[[[{}]]]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		shardOf, err := readIndex(text)
		for _, file := range shardOf {
			if err == nil && (filepath.Base(file) != file || !filepath.IsLocal(file)) {
				t.Errorf("accepted %q", file)
			}
		}
	})
}

func TestWeights(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w")
	a := tensor("a", F32, 2)
	must(t, WriteSafetensors(path, map[string]string{"step": "3"}, []Tensor{a}))
	w, err := Open(path)
	must(t, err)
	wantEqual(t, w.Metadata(), map[string]string{"step": "3", "format": "pt"})
	info, ok := w.Info("a")
	wantEqual(t, info, a.Info)
	if _, none := w.Info("b"); !ok || none {
		t.Error("Info finds the wrong tensors")
	}
	_, err = w.Tensor("b")
	wantError(t, err, `"b"`, path)
	must(t, w.Close())
	must(t, w.Close())
	if _, err := w.Tensor("a"); err == nil {
		t.Error("a tensor after Close")
	}
}

// A released tensor takes no memory, and its values come again.
func TestRelease(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w")
	big, small := tensor("big", F32, 3, 1<<20), tensor("small", F32, 2)
	must(t, WriteSafetensors(path, nil, []Tensor{big, small}))
	w := open(t, path)
	inMemory := func() int64 {
		status, err := os.ReadFile("/proc/self/status")
		must(t, err)
		_, after, _ := strings.Cut(string(status), "RssFile:")
		var kilobytes int64
		_, err = fmt.Sscan(after, &kilobytes)
		must(t, err)
		return kilobytes
	}
	for range 2 {
		x, err := w.Tensor("big")
		must(t, err)
		if !bytes.Equal(x.Data, big.Data) {
			t.Fatal("other values")
		}
		read := inMemory()
		w.Release("big")
		if freed := read - inMemory(); freed < 11<<10 {
			t.Errorf("%d kB were freed of 12 MB", freed)
		}
	}
	w.Release("small")
	w.Release("none")
	wantEqual(t, tensors(t, w)["small"], small)
}

func TestFloat32s(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		dtype Dtype
		data  string
		want  []float32
	}{
		{F32, "\x00\x00\xc0\x3f\x00\x00\x80\xff", []float32{1.5, -inf}},
		{F64, "\x00\x00\x00\x00\x00\x00\xf8\xbf", []float32{-1.5}},
		{BF16, "\xc0\x3f\x80\x7f", []float32{1.5, inf}},
		{F16, "\x00\x3e\x00\xfc\x01\x00\xff\x7b", []float32{1.5, -inf, 0x1p-24, 65504}},
	} {
		data := []byte("?" + c.data)[1:] // at an odd address
		got, err := Tensor{Info{"x", c.dtype, []int64{int64(len(c.want))}}, data}.Float32s()
		must(t, err)
		wantEqual(t, got, c.want)
	}
	_, err := tensor("ids", I64, 2).Float32s()
	wantError(t, err, `"ids"`, "I64")
}

func TestFloat16(t *testing.T) {
	for bits := range 1 << 16 {
		exponent, fraction := bits>>10&31, float64(bits&1023)
		want := math.Ldexp(1+fraction/1024, exponent-15)
		switch {
		case exponent == 0:
			want = math.Ldexp(fraction/1024, -14)
		case exponent == 31 && fraction == 0:
			want = math.Inf(1)
		case exponent == 31:
			want = math.NaN()
		}
		if bits>>15 == 1 {
			want = -want
		}
		got := float64(float16(uint16(bits)))
		if got != want && !(math.IsNaN(got) && math.IsNaN(want)) || math.Signbit(got) != (bits>>15 == 1) {
			t.Fatalf("%04x: %g, want %g", bits, got, want)
		}
	}
}

func TestInfoCheck(t *testing.T) {
	for _, info := range []Info{{"x", "F31", nil}, {"x", F32, []int64{-1}}, {"x", F32, []int64{1 << 31, 1 << 31}},
		{"x", U8, []int64{1 << 62, 2, 0}}} {
		wantError(t, info.check(), `"x"`)
	}
	for _, info := range []Info{{"x", U8, []int64{math.MaxInt64}}, {"x", F32, nil},
		{"x", F32, []int64{0, math.MaxInt64}}} {
		must(t, info.check())
	}
	wantError(t, Info{"x", "F31", nil}.check(), `"F31"`, `"BF16"`)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
