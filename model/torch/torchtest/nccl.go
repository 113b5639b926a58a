package torchtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// FakeNCCL is the path of an emulated NCCL, which takes tensors of the CPU (scripts/fake_nccl.cpp), for the variable
// LLAVATRAIN_NCCL. It is compiled once; whoever uses it calls RemoveFakes in its TestMain. Without the settings of
// scripts/env.sh, by which the tests were built, the test is skipped.
func FakeNCCL(t testing.TB) string {
	t.Helper()
	if os.Getenv("CGO_CXXFLAGS") == "" {
		t.Skip("the emulated NCCL is compiled with the settings of scripts/env.sh, which are not set")
	}
	path, err := fakeNCCL()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var (
	fakeNCCL = sync.OnceValues(compileFake)
	fakes    string // their folder, "" if there are none
)

// RemoveFakes removes what FakeNCCL compiled.
func RemoveFakes() {
	if fakes != "" {
		os.RemoveAll(fakes)
	}
}

func compileFake() (path string, err error) {
	root, err := filepath.Abs(".")
	if err != nil {
		return "", err
	}
	for ; root != "/"; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
	}
	// Read here, a source that has changed makes the results of earlier tests stale.
	source, err := os.ReadFile(filepath.Join(root, "scripts", "fake_nccl.cpp"))
	if err != nil {
		return "", err
	}
	if _, err := os.ReadFile(filepath.Join(root, "scripts", "fake_streams.h")); err != nil {
		return "", err
	}
	if fakes, err = os.MkdirTemp("", "fake-nccl"); err != nil {
		return "", err
	}
	path = filepath.Join(fakes, "libnccl.so.2")
	compiler := "g++"
	if named := os.Getenv("CXX"); named != "" {
		compiler = named
	}
	args := append(strings.Fields(os.Getenv("CGO_CXXFLAGS")), "-std=c++17", "-fPIC", "-shared", "-DLLAVATRAIN_SHIM",
		"-I", filepath.Join(root, "scripts"), "-I", filepath.Join(root, "model", "torch", "shim"),
		"-x", "c++", "-", "-o", path)
	command := exec.Command(compiler, args...)
	command.Stdin = bytes.NewReader(source)
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
}
