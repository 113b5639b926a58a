package failure

import (
	"errors"
	"io"
	"syscall"
	"testing"
)

func TestSeveral(t *testing.T) {
	a, b, c := errors.New("a"), errors.New("b"), errors.New("c")
	for _, test := range []struct {
		err  error
		want string
		n    int
	}{
		{Join(a, nil, b), "a\nb", 2},
		{Join(Join(a, b), Join(c, nil)), "a\nb\nc", 3},
		{Join(nil, a), "a", 1},
		{Under("data.", Join(a, b)), "data.a\ndata.b", 2},
		{Under("data.", Under("x.", a)), "data.x.a", 1},
	} {
		if test.err.Error() != test.want || len(Each(test.err)) != test.n {
			t.Errorf("%q of %d, want %q of %d", test.err, len(Each(test.err)), test.want, test.n)
		}
	}
	if Join(nil, nil) != nil || Under("x", nil) != nil || len(Each(nil)) != 0 {
		t.Error("no error became one")
	}
	if !errors.Is(Under("x", Join(a, io.EOF)), io.EOF) {
		t.Error("an error is not wrapped")
	}
}

// Each of several errors has its own mark; one of the disk makes all of them the disk's.
func TestMarksOfSeveral(t *testing.T) {
	err := Input(Join(io.EOF, syscall.ENOENT))
	for _, one := range Each(err) {
		if !errors.Is(one, ErrInput) {
			t.Errorf("%v is not marked", one)
		}
	}
	if len(Each(err)) != 2 || !errors.Is(err, ErrInput) || IsStorage(err) {
		t.Errorf("%d errors: %v", len(Each(err)), err)
	}
	if err := Input(Join(Inputf("a"), syscall.EIO)); !IsStorage(err) {
		t.Errorf("%v is not the disk's", err)
	}
}
