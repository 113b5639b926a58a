package torch_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
)

// nvrtc is the compiler of this machine. Without one the test is skipped, but under CI=true it fails
// (scripts/nvrtc.sh fetches it).
func nvrtc(t *testing.T) torch.NVRTC {
	t.Helper()
	if _, err := torch.Open(); err != nil {
		t.Fatal(err)
	}
	n, err := torch.FindNVRTC()
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
	return n
}

func TestKernelsCompile(t *testing.T) {
	n := nvrtc(t)
	for _, arch := range []string{"sm_80", "sm_90", "sm_100"} {
		cubin, err := n.Compile(arch)
		if err != nil && arch == "sm_100" && strings.HasPrefix(n.Version, "12.") {
			continue // known from 12.8 on
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"\x7fELF", "rms_norm_backward_bf16", "cross_entropy_float", "adamw_bf16_bf16",
			"add_partial_sums"} {
			if !bytes.Contains(cubin, []byte(name)) {
				t.Errorf("%s: the code has no %q", arch, name)
			}
		}
	}
}

func TestCompilingSaysWhatIsWrong(t *testing.T) {
	if _, err := nvrtc(t).Compile("sm_1"); err == nil || !strings.Contains(err.Error(), "sm_1: ") {
		t.Errorf("%v", err)
	}
}

func TestCompiledKernelsAreKept(t *testing.T) {
	n := nvrtc(t)
	folder := filepath.Join(t.TempDir(), "cache")
	t.Setenv("LLAVATRAIN_CACHE", folder)
	kernels := func(what string) []byte {
		cubin, err := n.Kernels("sm_90")
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return cubin
	}
	first := kernels("empty cache")
	files, _ := filepath.Glob(filepath.Join(folder, "kernels", "*"))
	if len(files) != 1 {
		t.Fatalf("the cache holds %v", files)
	}
	began := time.Now()
	if !bytes.Equal(kernels("from the cache"), first) || time.Since(began) > time.Second {
		t.Errorf("the code was not taken from the cache, in %v", time.Since(began))
	}
	for what, damage := range map[string]func(kept []byte) []byte{
		"cut":     func(kept []byte) []byte { return kept[:len(kept)/2] },
		"flipped": func(kept []byte) []byte { kept[len(kept)/3] ^= 1; return kept },
	} {
		kept, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(files[0], damage(slices.Clone(kept)), 0o644); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(kernels(what), first) {
			t.Errorf("%s: other code than before", what)
		}
		if mended, _ := os.ReadFile(files[0]); !bytes.Equal(mended, kept) {
			t.Errorf("%s: the file was not mended", what)
		}
	}
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LLAVATRAIN_CACHE", blocked)
	if !bytes.Equal(kernels("no cache"), first) {
		t.Error("no cache: other code than before")
	}
}

func TestNoNVRTCIsSaid(t *testing.T) {
	e, err := torch.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("LLAVATRAIN_NVRTC", filepath.Join(t.TempDir(), "libnvrtc.so.13"))
	if _, err := torch.FindNVRTC(); err == nil || !strings.Contains(err.Error(), "no NVRTC") {
		t.Errorf("%v", err)
	}
	if e.CUDADevices > 0 {
		return
	}
	if said := torch.LoadKernels(0); len(said) != 1 ||
		!strings.HasPrefix(said[0], "libtorch's operations run in place of our kernels: engine: no NVRTC") {
		t.Errorf("%q", said)
	}
}

// The way to a card, up to the first launch, against a driver that has none: what is found is loaded, and then no
// operation passes its check, because libtorch has no such card.
func TestLoadingKernels(t *testing.T) {
	if os.Getenv("FAKE_DRIVER") != "" {
		for _, line := range torch.LoadKernels(0) {
			t.Log("said: " + line)
		}
		return
	}
	n := nvrtc(t)
	if e, _ := torch.Open(); e.CUDADevices > 0 {
		t.Skip("there is a card")
	}
	folder := t.TempDir()
	t.Setenv("LLAVATRAIN_CACHE", folder)
	// the child finds them there: NVRTC itself asks the driver things that this one does not know
	if _, err := n.Kernels("sm_90"); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cc", "-w", "-shared", "-fPIC", "-o", filepath.Join(folder, "libcuda.so.1"),
		"testdata/driver/driver.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for missing, want := range map[string]struct {
		lines int
		text  string
	}{
		"": {6, "libtorch's operations run in place of our kernel for cross-entropy: "},
		"swiglu_bf16": {1,
			"libtorch's operations run in place of our kernels: engine: cuModuleGetFunction of swiglu_bf16: named " +
				"symbol not found (500)"},
	} {
		child := exec.Command(os.Args[0], "-test.run", "^TestLoadingKernels$", "-test.v")
		child.Env = append(os.Environ(), "FAKE_DRIVER=1", "FAKE_MISSING="+missing, "LLAVATRAIN_NVRTC="+n.Path,
			"LD_LIBRARY_PATH="+folder+":"+os.Getenv("LD_LIBRARY_PATH"))
		out, err := child.CombinedOutput()
		if err != nil || strings.Count(string(out), "said: ") != want.lines ||
			!strings.Contains(string(out), want.text) {
			t.Errorf("without %q: %v\n%s", missing, err, out)
		}
	}
}
