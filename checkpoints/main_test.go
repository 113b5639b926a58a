package checkpoints

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// children are what this test binary does instead of testing when it is started again with the variable set: things
// that end with a killed or a crippled process.
var children = map[string]func(dir string){
	"save, killed at an operation": saveAndDie,
	"save without end":             saveWithoutEnd,
	"save under a size limit":      saveUnderLimit,
}

const childVariable = "CHECKPOINTS_TEST_CHILD"

func TestMain(m *testing.M) {
	if child, ok := children[os.Getenv(childVariable)]; ok {
		child(os.Args[1])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// parity is a path in the recorded outputs of the original code, which lie beside the repository.
func parity(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join("../../shared/parity", name)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("needs recorded outputs of the original: %v", err)
	}
	return path
}

func open(t testing.TB, path string) *Weights {
	t.Helper()
	w, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// tensors copies all tensors out of w, by name.
func tensors(t testing.TB, w *Weights) map[string]Tensor {
	t.Helper()
	all := map[string]Tensor{}
	for _, name := range w.Names() {
		tensor, err := w.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		tensor.Data = append([]byte{}, tensor.Data...)
		tensor.Shape = append([]int64{}, tensor.Shape...)
		all[name] = tensor
	}
	return all
}

// tensor makes a tensor of random bytes.
func tensor(name string, dtype Dtype, shape ...int64) Tensor {
	t := Tensor{Info: Info{Name: name, Dtype: dtype, Shape: append([]int64{}, shape...)}}
	t.Data = make([]byte, t.Bytes())
	for i := range t.Data {
		t.Data[i] = byte(rand.Uint32())
	}
	return t
}

func floats(values ...float32) []byte {
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, values)
	return b.Bytes()
}

func write(t testing.TB, path string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantError checks that err says all of the words.
func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, one with %q expected", words)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
}

func wantEqual(t testing.TB, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("-want +got\n%s", diff)
	}
}
