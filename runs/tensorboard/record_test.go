package tensorboard

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestChecksum(t *testing.T) {
	if got := checksum([]byte("123456789")); got != 0xc78ab0e5 {
		t.Errorf("masked checksum %08x", got)
	}
}

// Records as TensorBoard 2.21 reads them.
func TestRecordsToTheByte(t *testing.T) {
	const at = 1.7e9
	for want, e := range map[string]Event{
		"1800000000000000a37f4b220900000040fc54d9411a0d627261696e2e4576656e743a32eced8f9d": {
			WallTime: at, Version: version},
		"200000000000000029eda9500900000040fc54d94110012a130a110a0a747261696e2f6c6f7373150000c03fd6a869e8": {
			WallTime: at, Step: 1, Values: []Value{{Tag: "train/loss", Number: 1.5}}},
		"0f000000000000006d532b090900000040fc54d94110073a0208013c4f4b07": {WallTime: at, Step: 7, Start: true},
	} {
		if got := hex.EncodeToString(record(e.encode())); got != want {
			t.Errorf("%+v:\n%s, want\n%s", e, got, want)
		}
	}
}

func anyEvent(t *rapid.T) Event {
	text, data := rapid.StringN(0, 20, 80), rapid.SliceOfN(rapid.Byte(), 1, 40)
	value := rapid.Custom(func(t *rapid.T) Value {
		v := Value{Tag: text.Draw(t, "tag"), Kind: Kind(rapid.IntRange(0, 3).Draw(t, "kind"))}
		switch v.Kind {
		case Scalar:
			v.Number = rapid.Float32().Draw(t, "number")
		case Text:
			v.Text = text.Draw(t, "text")
		case Picture:
			v.Width, v.Height = rapid.IntRange(0, 4000).Draw(t, "width"), rapid.IntRange(0, 4000).Draw(t, "height")
			v.Encoded = data.Draw(t, "picture")
		case Settings:
			v.Content = data.Draw(t, "content")
		}
		return v
	})
	return Event{
		WallTime: rapid.Float64().Draw(t, "time"), Step: rapid.Int64().Draw(t, "step"),
		Version: text.Draw(t, "version"), Start: rapid.Bool().Draw(t, "start"),
		Values: rapid.SliceOfN(value, 1, 5).Draw(t, "values"),
	}
}

func TestEventsAreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(anyEvent), 0, 5).Draw(t, "events")
		var file []byte
		for _, e := range want {
			file = append(file, record(e.encode())...)
		}
		var got []Event
		size, err := Read(bytes.NewReader(file), func(e Event) bool { got = append(got, e); return true })
		if err != nil || size != int64(len(file)) || len(want)+len(got) > 0 && !cmp.Equal(want, got) {
			t.Fatalf("%d of %d bytes, %v: %s", size, len(file), err, cmp.Diff(want, got))
		}
	})
}

func TestNumbersThatAreNotFinite(t *testing.T) {
	for _, want := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		var got Event
		e := Event{Values: []Value{{Number: float32(want)}}}
		if err := got.decode(e.encode()); err != nil || len(got.Values) != 1 {
			t.Fatal(got, err)
		}
		if n := float64(got.Values[0].Number); n != want && !(math.IsNaN(n) && math.IsNaN(want)) {
			t.Errorf("%g is read as %g", want, n)
		}
	}
}

// A file that is cut or changed anywhere gives the records before the damage, and says that there is some.
func TestTornAndDamagedRecords(t *testing.T) {
	one := record(Event{Version: version}.encode())
	file := append(bytes.Clone(one), record(Event{Step: 3, Values: []Value{{Tag: "a", Number: 1}}}.encode())...)
	read := func(file []byte) (events int, size int64, err error) {
		size, err = Read(bytes.NewReader(file), func(Event) bool { events++; return true })
		return events, size, err
	}
	for end := range len(file) {
		events, size, err := read(file[:end])
		whole := end == 0 || end == len(one)
		if whole != (err == nil) || err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("cut at byte %d: error %v", end, err)
		}
		if end < len(one) && events != 0 || end >= len(one) && (events != 1 || size != int64(len(one))) {
			t.Errorf("cut at byte %d: %d events, %d bytes", end, events, size)
		}
	}
	for at := len(one); at < len(file); at++ {
		damaged := bytes.Clone(file)
		damaged[at] ^= 1
		if events, size, err := read(damaged); events != 1 || size != int64(len(one)) || !errors.Is(err, ErrDamaged) {
			t.Errorf("damage at byte %d: %d events, %d bytes, %v", at, events, size, err)
		}
	}
	huge := binary.LittleEndian.AppendUint64(nil, math.MaxUint64)
	huge = binary.LittleEndian.AppendUint32(huge, checksum(huge))
	if _, _, err := read(huge); !errors.Is(err, ErrDamaged) {
		t.Errorf("a record of %d bytes: %v", uint64(math.MaxUint64), err)
	}
}

func TestErrorsOfReadingAreNotDamage(t *testing.T) {
	e := record(Event{Version: version}.encode())
	for _, end := range []int{0, 5, headSize, 20} {
		failing := io.MultiReader(bytes.NewReader(e[:end]), iotest.ErrReader(io.ErrClosedPipe))
		if _, err := Read(failing, func(Event) bool { return true }); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("an error behind byte %d becomes %v", end, err)
		}
	}
}

// No file makes the reader fail in another way than by an error, or read more than there is.
func FuzzRead(f *testing.F) {
	all := Event{WallTime: 1, Step: 2, Version: version, Start: true, Values: []Value{
		{Tag: "a", Number: 1}, {Tag: "b", Kind: Text, Text: "t"}, {Tag: "c", Kind: Settings, Content: []byte{1}},
		{Tag: "d", Kind: Picture, Width: 1, Height: 2, Encoded: []byte{1}},
	}}
	f.Add(record(all.encode()), true)
	f.Add([]byte(all.encode()), false)
	f.Fuzz(func(t *testing.T, data []byte, framed bool) {
		if !framed { // so that messages are reached
			data = record(data)
		}
		size, err := Read(bytes.NewReader(data), func(e Event) bool { return true })
		if size > int64(len(data)) || err == nil && size != int64(len(data)) {
			t.Errorf("%d of %d bytes are records, %v", size, len(data), err)
		}
	})
}
