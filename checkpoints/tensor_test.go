package checkpoints

import (
	"regexp"
	"strconv"
	"testing"
)

// The name of a type says how many bits an element has; BOOL takes a byte.
func TestDtypeSizes(t *testing.T) {
	bits := regexp.MustCompile(`^[A-Z]+([0-9]+)`)
	for dtype, size := range dtypeSizes {
		want := 8
		if m := bits.FindStringSubmatch(string(dtype)); m != nil {
			want, _ = strconv.Atoi(m[1])
		} else if dtype != Bool {
			t.Errorf("%s does not say how wide it is", dtype)
		}
		if 8*size != want || dtype.Size() != size {
			t.Errorf("%s has %d bytes", dtype, size)
		}
	}
	if n := Dtype("F31").Size(); n != 0 {
		t.Errorf("an unknown type has %d bytes", n)
	}
}
