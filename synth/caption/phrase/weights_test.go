package phrase

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEmbeddedWeights(t *testing.T) {
	c, err := Read(embedded)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(c.Bytes(), embedded) {
		t.Error("reading and writing the weights changes them")
	}
}

func TestDamagedWeights(t *testing.T) {
	body := len(magic) + 32
	zeros := func(tail ...byte) []byte { // without weights but those of tail
		return append(append([]byte(magic), make([]byte, 32+(int(labels)+1)*(int(labels)+1)*int(labels))...), tail...)
	}
	if _, err := Read(zeros(0x80, 0x80, 0x04, 1, 2)); err != nil {
		t.Fatalf("the last row: %v", err)
	}
	for name, file := range map[string][]byte{
		"empty":               nil,
		"another file":        append([]byte("x"), embedded[1:]...),
		"cut in the digest":   embedded[:body-1],
		"cut in the chain":    embedded[:body+5],
		"cut in a row":        embedded[:len(embedded)-1],
		"a row twice":         zeros(1, 1, 1, 0, 1, 1),
		"a row too many":      zeros(0x81, 0x80, 0x04, 1, 2),
		"a row beyond int":    zeros(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1, 2),
		"a weight beyond int": append(append([]byte(magic), make([]byte, 32)...), 0xff, 0xff, 0xff, 0xff, 0x7f),
	} {
		if _, err := Read(file); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(embedded[:2000])
	f.Fuzz(func(t *testing.T, file []byte) {
		c, err := Read(file)
		if err != nil {
			return
		}
		again, err := Read(c.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.Bytes(), again.Bytes()); diff != "" {
			t.Fatal(diff)
		}
	})
}
