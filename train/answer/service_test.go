package answer

import "testing"

// TestRoom sizes the arena of keys and values: what a number of answers need, and neither less than a context nor more
// than could be used.
func TestRoom(t *testing.T) {
	const gb = 1 << 30
	for _, test := range []struct {
		name                     string
		total, position, longest int64
		want                     int64 // positions
	}{
		{"a small model", 24 * gb, 32 << 10, 4096, 32 * 1200},
		{"a short context", 24 * gb, 32 << 10, 512, 32 * 512},
		{"a large model", 64 * gb, 1 << 20, 4096, 16 << 10},
		{"a machine with little memory", 4 * gb, 1 << 20, 4096, 4096},
	} {
		got := positionsIn(cpuRoom(test.total, test.position, test.longest), test.position, test.longest)
		if got != test.want {
			t.Errorf("%s: room for %d positions, not %d", test.name, got, test.want)
		}
	}
	if got := positionsIn(24*gb, 32<<10, 512); got != 256*512 {
		t.Errorf("with 24 GB, a context of 512 has room for %d positions", got)
	}
}
