package checkpoints

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pickler writes pickles as torch.save does, in protocol 2.
type pickler struct{ bytes.Buffer }

func (p *pickler) op(codes ...byte) *pickler { p.Write(codes); return p }

func (p *pickler) text(s string) *pickler {
	p.op('X')
	binary.Write(p, binary.LittleEndian, uint32(len(s)))
	p.WriteString(s)
	return p
}

func (p *pickler) integer(n int64) *pickler {
	switch {
	case n >= 0 && n < 1<<8:
		return p.op('K', byte(n))
	case n >= 0 && n < 1<<16:
		return p.op('M', byte(n), byte(n>>8))
	case n >= -1<<31 && n < 1<<31:
		return p.op(binary.LittleEndian.AppendUint32([]byte{'J'}, uint32(n))...)
	}
	return p.op(binary.LittleEndian.AppendUint64([]byte{0x8a, 8}, uint64(n))...)
}

func (p *pickler) integers(list []int64) *pickler {
	p.op('(')
	for _, n := range list {
		p.integer(n)
	}
	return p.op('t')
}

func (p *pickler) global(module, name string) *pickler {
	p.op('c').WriteString(module + "\n" + name + "\n")
	return p
}

// stored is a tensor as it is in a storage.
type stored struct {
	class, key     string
	elements       int64 // of the storage
	offset         int64
	shape, strides []int64
	parameter      bool
}

func (p *pickler) tensor(s stored) *pickler {
	if s.parameter {
		p.global("torch._utils", "_rebuild_parameter").op('(')
	}
	p.global("torch._utils", "_rebuild_tensor_v2").op('(', '(').text("storage").global("torch", s.class+"Storage")
	p.text(s.key).text("cpu").integer(s.elements).op('t', 'Q')
	p.integer(s.offset).integers(s.shape).integers(s.strides).op(0x89).global("collections", "OrderedDict").op(')', 'R',
		't', 'R')
	if s.parameter {
		p.op(0x88).global("collections", "OrderedDict").op(')', 'R', 't', 'R')
	}
	return p
}

// dict makes a whole pickle of a plain dict of one tensor, "w".
func dict(s stored) []byte {
	return new(pickler).op(0x80, 2, '}', 'q', 0, '(').text("w").tensor(s).op('u', '.').Bytes()
}

// torchZip makes a torch file of a pickle and records.
func torchZip(program []byte, records map[string][]byte) []byte {
	var file bytes.Buffer
	z := zip.NewWriter(&file)
	add := func(name string, data []byte) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: "some name/" + name, Method: zip.Store})
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			panic(err)
		}
	}
	add("data.pkl", program)
	for name, data := range records {
		add(name, data)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return file.Bytes()
}

// writeTorch writes one bfloat16 tensor as torch.save would.
func writeTorch(t testing.TB, path string, x Tensor) {
	t.Helper()
	program := new(pickler).op(0x80, 2, '}', '(').text(x.Name)
	program.tensor(stored{class: "BFloat16", key: "0", elements: x.Elements(), shape: x.Shape,
		strides: []int64{1}}).op('u', '.')
	write(t, path, torchZip(program.Bytes(), map[string][]byte{"data/0": x.Data}))
}

// readOne reads the tensor "w" of a torch file.
func readOne(t *testing.T, file []byte) (Tensor, error) {
	t.Helper()
	views, err := readTorch(file)
	if err != nil {
		return Tensor{}, err
	}
	if len(views) != 1 || views[0].Name != "w" {
		t.Fatalf("%d tensors", len(views))
	}
	return Tensor{views[0].Info, views[0].contiguous()}, nil
}

func TestTorchDtypes(t *testing.T) {
	for class, dtype := range map[string]Dtype{"Double": F64, "Float": F32, "Half": F16, "BFloat16": BF16, "Long": I64,
		"Int":   I32,
		"Short": I16, "Char": I8, "Byte": U8, "Bool": Bool} {
		want := tensor("w", dtype, 2, 3)
		for _, parameter := range []bool{false, true} {
			program := dict(stored{class, "0", 6, 0, []int64{2, 3}, []int64{3, 1}, parameter})
			got, err := readOne(t,
				torchZip(program, map[string][]byte{"data/0": want.Data, "byteorder": []byte("little")}))
			must(t, err)
			wantEqual(t, got, want)
		}
	}
}

func TestTorchViews(t *testing.T) {
	storage := floats(0, 1, 2, 3, 4, 5, 6, 7)
	for name, c := range map[string]struct {
		offset         int64
		shape, strides []int64
		want           []float32
		copied         bool
	}{
		"whole":            {0, []int64{2, 4}, []int64{4, 1}, []float32{0, 1, 2, 3, 4, 5, 6, 7}, false},
		"scalar":           {3, nil, nil, []float32{3}, false},
		"rows":             {4, []int64{1, 4}, []int64{4, 1}, []float32{4, 5, 6, 7}, false},
		"odd stride of 1":  {4, []int64{1, 4, 1}, []int64{99, 1, 77}, []float32{4, 5, 6, 7}, false},
		"transposed":       {0, []int64{4, 2}, []int64{1, 4}, []float32{0, 4, 1, 5, 2, 6, 3, 7}, true},
		"columns":          {1, []int64{2, 2}, []int64{4, 1}, []float32{1, 2, 5, 6}, true},
		"every third":      {1, []int64{3}, []int64{3}, []float32{1, 4, 7}, true},
		"three dimensions": {0, []int64{2, 2, 2}, []int64{1, 4, 2}, []float32{0, 2, 4, 6, 1, 3, 5, 7}, true},
		"repeated":         {2, []int64{2, 2}, []int64{0, 1}, []float32{2, 3, 2, 3}, true},
		"empty":            {0, []int64{0, 4}, []int64{4, 1}, []float32{}, false},
		"empty, far":       {100, []int64{0, 4}, []int64{4, 1}, []float32{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			program := dict(stored{"Float", "0", 8, c.offset, c.shape, c.strides, false})
			views, err := readTorch(torchZip(program, map[string][]byte{"data/0": storage}))
			must(t, err)
			got, err := Tensor{views[0].Info, views[0].contiguous()}.Float32s()
			must(t, err)
			wantEqual(t, got, c.want)
			if copied := views[0].strides != nil; copied != c.copied {
				t.Errorf("copied: %v", copied)
			}
		})
	}
}

// A module's state dict: ordered, with metadata set by BUILD, two names for one storage, memo traffic.
func TestTorchStateDict(t *testing.T) {
	p := new(pickler).op(0x80, 2).global("collections", "OrderedDict").op('q', 0, ')', 'R', 'q', 1, '(')
	p.text("embed").tensor(stored{"Float", "7", 2, 0, []int64{2}, []int64{1}, false}).op('r', 0, 1, 0, 0)
	p.text("head").op('j', 0, 1, 0, 0, 'u')
	p.op('}').text("_metadata").op('h', 0, ')', 'R', 's', 'b', '.')
	views, err := readTorch(torchZip(p.Bytes(), map[string][]byte{"data/7": floats(1, 2)}))
	must(t, err)
	if len(views) != 2 || views[0].Name != "embed" || views[1].Name != "head" ||
		&views[0].data[0] != &views[1].data[0] {
		t.Errorf("%v", views)
	}
}

// Files that torch.save itself wrote (testdata/torch_make.py): dtypes, views that share a storage, parameters.
func TestTorchFileOfTorch(t *testing.T) {
	wantEqual(t, tensors(t, open(t, "testdata/torch_state.bin")),
		tensors(t, open(t, "testdata/torch_state.safetensors")))
	for file, want := range map[string]string{
		"torch_before_1_6.bin": "PyTorch before 1.6",
		"torch_other_class.bin": `"Fraction" of "fractions": weights do not need it, ` +
			`and it may be harmful; use the model's safetensors files`,
	} {
		w, err := Open(filepath.Join("testdata", file))
		if err == nil {
			w.Close()
		}
		wantError(t, err, file, want)
	}
}

// A pickled model in shards, as it was published before safetensors.
func TestTorchShards(t *testing.T) {
	dir := t.TempDir()
	a, b := tensor("a", BF16, 3), tensor("b", BF16, 4)
	writeTorch(t, filepath.Join(dir, "pytorch_model-00001-of-00002.bin"), a)
	writeTorch(t, filepath.Join(dir, "pytorch_model-00002-of-00002.bin"), b)
	write(t, filepath.Join(dir, "pytorch_model.bin.index.json"),
		[]byte(`{"metadata":{"total_size":14},"weight_map":{"a":"pytorch_model-00001-of-00002.bin",`+
			`"b":"pytorch_model-00002-of-00002.bin"}}`))
	wantEqual(t, tensors(t, open(t, dir)), map[string]Tensor{"a": a, "b": b})
}

func TestTorchErrors(t *testing.T) {
	fine := stored{"Float", "0", 2, 0, []int64{2}, []int64{1}, false}
	with := func(change func(*stored)) []byte { s := fine; change(&s); return dict(s) }
	program := func() *pickler { return new(pickler).op(0x80, 2) }
	bomb := bytes.Repeat([]byte{'('}, 1000)
	for name, c := range map[string]struct {
		program []byte
		want    string
	}{
		"os.system": {program().global("os", "system").op('(').text("id").op('t', 'R', '.').Bytes(),
			`refused to run "system" of "os"`},
		"eval":                 {program().global("__builtin__", "eval").op('.').Bytes(), `refused to run "eval"`},
		"object":               {program().global("__builtin__", "object").op('.').Bytes(), "refused"},
		"copy_reg":             {program().global("copy_reg", "_reconstructor").op('.').Bytes(), "refused"},
		"hidden in the memo":   {program().global("collections", "OrderedDict\nx").op('.').Bytes(), "refused opcode"},
		"other storage":        {with(func(s *stored) { s.class = "ComplexFloat" }), "ComplexFloatStorage"},
		"untyped storage":      {program().global("torch.storage", "UntypedStorage").op('.').Bytes(), "UntypedStorage"},
		"INST":                 {program().op('(', 'i').Bytes(), "opcode 0x69"},
		"STACK_GLOBAL":         {program().text("os").text("system").op(0x93, '.').Bytes(), "opcode 0x93"},
		"opcode 255":           {program().op(0xff).Bytes(), "opcode 0xff"},
		"protocol 4":           {[]byte("\x80\x04}."), "protocol 2"},
		"no pickle":            {[]byte("hello"), "protocol 2"},
		"empty":                {nil, "protocol 2"},
		"no STOP":              {program().op('}').Bytes(), "truncated"},
		"cut in a name":        {[]byte("\x80\x02ctorch"), "truncated"},
		"cut in a count":       {[]byte("\x80\x02X\x01"), "truncated"},
		"4 GB of text":         {[]byte("\x80\x02X\xff\xff\xff\xff."), "4294967299 bytes"},
		"marks":                {append([]byte{0x80, 2}, bomb...), "nested"},
		"close without a mark": {program().op('u', '.').Bytes(), "nested -1"},
		"too long":             {append([]byte{0x80, 2}, make([]byte, maxPickle)...), "more than the limit"},
		"empty stack":          {program().op('.').Bytes(), "stack is empty"},
		"long of no bytes":     {program().op(0x8a, 0, '.').Bytes(), "malformed"},
		"key without value":    {program().op('}', '(').text("a").op('u', '.').Bytes(), "malformed"},
		"not a dict":           {program().integer(1).op('.').Bytes(), "no state dict"},
		"bare tensor":          {program().tensor(fine).op('.').Bytes(), "no state dict"},
		"whole training state": {program().op('}', '(').text("model").op('}', 'u', '.').Bytes(),
			`"model" is not a tensor`},
		"number for a name": {program().op('}', '(').integer(3).tensor(fine).op('u', '.').Bytes(), "not a string"},
		"strange id":        {program().text("storage").op('Q', '.').Bytes(), "not a storage"},
		"id of numbers": {program().op('(').text("storage").integer(1).integer(1).integer(1).integer(1).op('t',
			'Q', '.').Bytes(), "class"},
		"missing record":      {with(func(s *stored) { s.key = "1" }), `"data/1" is missing`},
		"record outside data": {with(func(s *stored) { s.key = "../data.pkl" }), "missing"},
		"storage too large": {with(func(s *stored) {
			s.elements = 3
		}), "3 elements of F32, but its record has 8 bytes"},
		"storage too small":   {with(func(s *stored) { s.elements = 1 }), "1 elements"},
		"storage of 2^62":     {with(func(s *stored) { s.elements = 1 << 62 }), "elements"},
		"negative storage":    {with(func(s *stored) { s.elements = -1 }), "elements"},
		"view past the end":   {with(func(s *stored) { s.offset = 1 }), "past"},
		"offset past the end": {with(func(s *stored) { s.offset, s.shape = 2, []int64{1} }), "past"},
		"stride past the end": {with(func(s *stored) { s.strides = []int64{2} }), "past"},
		"stride of 2^62":      {with(func(s *stored) { s.strides = []int64{1 << 62} }), "past"},
		"sum over 2^63": {with(func(s *stored) {
			s.shape, s.strides = []int64{2, 2, 2}, []int64{1 << 62, 1 << 62, 1 << 62}
		}), "past"},
		"shape of 2^80": {with(func(s *stored) {
			s.shape, s.strides = []int64{1 << 40, 1 << 40}, []int64{0, 0}
		}), "no tensor"},
		"repeated for ever": {with(func(s *stored) {
			s.shape, s.strides = []int64{1 << 40}, []int64{0}
		}), "repeats"},
		"negative offset": {with(func(s *stored) { s.offset = -1 }), "integer"},
		"negative stride": {with(func(s *stored) { s.offset, s.strides = 1, []int64{-1} }), "integer"},
		"negative shape":  {with(func(s *stored) { s.shape = []int64{-2} }), "integer"},
		"fewer strides":   {with(func(s *stored) { s.strides = nil }), "strides"},
		"tensor of nothing": {program().global("torch._utils", "_rebuild_tensor_v2").op(')', 'R', '.').Bytes(),
			"arguments"},
		"parameter of nothing": {program().global("torch._utils", "_rebuild_parameter").op(')', 'R', '.').Bytes(),
			"arguments"},
		"call of a storage": {program().global("torch", "FloatStorage").op(')', 'R', '.').Bytes(), "Callable"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readTorch(torchZip(c.program, map[string][]byte{"data/0": floats(1, 2)}))
			wantError(t, err, "torch file", c.want)
		})
	}
}

func TestTorchBigIntegers(t *testing.T) {
	p := func(elements ...byte) []byte { // elements in more bytes than a machine integer has
		p := new(pickler).op(0x80, 2, '}', '(').text("w").global("torch._utils", "_rebuild_tensor_v2").op('(',
			'(').text("storage")
		p.global("torch", "FloatStorage").text("0").text("cpu").op(0x8a, byte(len(elements))).op(elements...).op('t',
			'Q')
		return p.integer(0).integers([]int64{2}).integers([]int64{1}).op('t', 'R', 'u', '.').Bytes()
	}
	records := map[string][]byte{"data/0": floats(1, 2)}
	_, err := readOne(t, torchZip(p(2, 0, 0, 0, 0, 0, 0, 0, 0), records))
	must(t, err)
	_, err = readOne(t, torchZip(p(0, 0, 0, 0, 0, 0, 0, 0, 1), records))
	wantError(t, err, "storage, class, key, device, elements")
}

func TestTorchArchiveErrors(t *testing.T) {
	fine := torchZip(dict(stored{"Float", "0", 2, 0, []int64{2}, []int64{1}, false}),
		map[string][]byte{"data/0": floats(1, 2)})
	build := func(method uint16, names ...string) []byte {
		var file bytes.Buffer
		z := zip.NewWriter(&file)
		for _, name := range names {
			w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: method})
			must(t, err)
			io.WriteString(w, "\x80\x02}.")
		}
		must(t, z.Close())
		return file.Bytes()
	}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"not a torch file": {build(zip.Store, "word/document.xml"), `"data.pkl" is missing`},
		"compressed":       {build(zip.Deflate, "a/data.pkl"), "compressed"},
		"pickle twice":     {build(zip.Store, "a/data.pkl", "b/data.pkl"), "twice"},
		"cut short":        {fine[:len(fine)-30], "zip"},
		"big endian": {torchZip([]byte("\x80\x02}."), map[string][]byte{"byteorder": []byte("big")}),
			"byte order"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readTorch(c.file)
			wantError(t, err, c.want)
		})
	}
	// A record whose stated size reaches past the end of the file.
	long := bytes.Clone(fine)
	at := bytes.Index(long, []byte("PK\x01\x02")) // the first central header is data.pkl's
	binary.LittleEndian.PutUint32(long[at+20:], 1<<30)
	binary.LittleEndian.PutUint32(long[at+24:], 1<<30)
	_, err := readTorch(long)
	wantError(t, err, "past the end of the file")
}

// A storage of more than 4 GB: zip64 records, counts above 2³¹. The file is a hole, so that it costs nothing.
func TestTorchZip64(t *testing.T) {
	const elements = 1<<32 + 16 // uint8
	program := dict(stored{"Byte", "0", elements, elements - 4, []int64{4}, []int64{1}, false})
	path := filepath.Join(t.TempDir(), "big.bin")
	writeZip64(t, path, []zip64Record{
		{"a/data.pkl", int64(len(program)), func(f io.WriterAt, at int64) { f.WriteAt(program, at) }},
		{"a/data/0", elements, func(f io.WriterAt, at int64) { f.WriteAt([]byte("last"), at+elements-4) }},
	})
	w := open(t, path)
	x, err := w.Tensor("w")
	must(t, err)
	wantEqual(t, string(x.Data), "last")
}

type zip64Record struct {
	name string
	size int64
	fill func(f io.WriterAt, at int64)
}

// writeZip64 writes an archive whose sizes and offsets are all in zip64 fields (PKWARE's APPNOTE 4.3 and 4.5.3).
func writeZip64(t *testing.T, path string, records []zip64Record) {
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	var central []byte
	le := binary.LittleEndian
	at := int64(0)
	for _, r := range records {
		extra := le.AppendUint16(nil, 1)
		extra = le.AppendUint16(extra, 24)
		for _, n := range []int64{r.size, r.size, at} {
			extra = le.AppendUint64(extra, uint64(n))
		}
		fields := []byte{45, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
			byte(len(r.name)), 0, byte(len(extra)), 0}
		local := append(append(append([]byte("PK\x03\x04"), fields...), r.name...), extra...)
		f.WriteAt(local, at)
		central = append(append(append(central, "PK\x01\x02\x2d\x00"...), fields...), make([]byte, 10)...)
		central = append(append(append(central, 0xff, 0xff, 0xff, 0xff), r.name...), extra...)
		at += int64(len(local))
		r.fill(f, at)
		at += r.size
	}
	end := append(central, "PK\x06\x06"...)
	for _, n := range []uint64{44, 45 | 45<<16, uint64(len(records)), uint64(len(records)), uint64(len(central)),
		uint64(at)} {
		end = le.AppendUint64(end, n)
		if n == 45|45<<16 {
			end = le.AppendUint32(end, 0) // version needed, made by, two disk numbers are 2, 2, 4, 4 bytes
		}
	}
	end = append(append(end, "PK\x06\x07\x00\x00\x00\x00"...), le.AppendUint64(nil, uint64(at)+uint64(len(central)))...)
	end = append(append(end, 1, 0, 0, 0), "PK\x05\x06\x00\x00\x00\x00"+strings.Repeat("\xff", 12)+"\x00\x00"...)
	_, err = f.WriteAt(end, at)
	must(t, err)
}

func FuzzTorchPickle(f *testing.F) {
	f.Add(dict(stored{"Float", "0", 2, 0, []int64{2}, []int64{1}, true}))
	f.Add(dict(stored{"Half", "0", 4, 1, []int64{1, 2}, []int64{1, 2}, false}))
	f.Add(new(pickler).op(0x80, 2).global("os", "system").op('(').text("id").op('t', 'R', '.').Bytes())
	f.Add(new(pickler).op(0x80, 2).global("collections", "OrderedDict").op(')', 'R', '}', '(').text("a").op('N', 'u',
		'b', '.').Bytes())
	f.Fuzz(func(t *testing.T, program []byte) {
		checkTorch(t, torchZip(program, map[string][]byte{"data/0": floats(1, 2)}))
	})
}

func FuzzTorchFile(f *testing.F) {
	f.Add(torchZip(dict(stored{"Float", "0", 2, 0, []int64{2}, []int64{1}, true}),
		map[string][]byte{"data/0": floats(1, 2), "byteorder": []byte("little")}))
	f.Fuzz(checkTorch)
}

// checkTorch checks that what is accepted is whole.
func checkTorch(t *testing.T, file []byte) {
	views, err := readTorch(file)
	if err != nil {
		return
	}
	for _, v := range views {
		if got := int64(len(v.contiguous())); got != v.Bytes() {
			t.Fatal(fmt.Sprint(v.Info, got))
		}
	}
}
