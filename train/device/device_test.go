package device

import (
	"errors"
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
)

func TestPlacement(t *testing.T) {
	engine, err := torch.Open()
	if err != nil {
		t.Fatal(err)
	}
	type placement struct {
		device torch.Device
		dtype  torch.Dtype
		fails  bool
	}
	first, dtype := torch.CPU, torch.Float32 // of auto
	if engine.CUDADevices > 0 {
		first, dtype = 0, torch.BFloat16
	}
	for _, c := range []struct {
		device, dtype string
		want          placement
	}{
		{"auto", "auto", placement{first, dtype, false}},
		{"auto", "fp32", placement{first, torch.Float32, false}},
		{"cpu", "auto", placement{torch.CPU, torch.Float32, false}},
		{"cpu", "bf16", placement{torch.CPU, torch.BFloat16, false}},
		{"cuda", "bf16", placement{0, torch.BFloat16, engine.CUDADevices == 0}},
	} {
		var got placement
		got.device, got.dtype, err = Placement(c.device, c.dtype)
		if got.fails = errors.Is(err, torch.ErrEngine); got.fails && c.want.fails {
			continue
		}
		if got != c.want || err != nil {
			t.Errorf("%s, %s: %v, error %v", c.device, c.dtype, got, err)
		}
	}
}

func TestKilobytes(t *testing.T) {
	const text = "MemTotal:       24 kB\nMemFree:  7 kB\nEmpty:\n"
	for key, want := range map[string]int64{"MemTotal:": 24 << 10, "MemFree:": 7 << 10, "Empty:": 0, "Absent:": 0} {
		if got := kilobytes(text, key); got != want {
			t.Errorf("%s %d, want %d", key, got, want)
		}
	}
}
