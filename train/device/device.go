// Package device says where a model is computed: on which device, in which dtype, and in how much memory.
package device

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Placement resolves a recipe's device and dtype: auto is the first GPU, with bf16, if there is one, and otherwise the
// CPU, with fp32.
func Placement(device, dtype string) (torch.Device, torch.Dtype, error) {
	if !slices.Contains(recipes.Devices, device) {
		return 0, 0, failure.NotOneOf("device", device, recipes.Devices)
	}
	if !slices.Contains(recipes.Dtypes, dtype) {
		return 0, 0, failure.NotOneOf("dtype", dtype, recipes.Dtypes)
	}
	engine, err := torch.Open()
	if err != nil {
		return 0, 0, err
	}
	where := torch.CPU
	switch {
	case device == "cuda" && engine.CUDADevices == 0:
		return 0, 0, fmt.Errorf("%w: no CUDA device available: %s (llavatrain doctor says more)",
			torch.ErrEngine, engine.WhyNoCUDA)
	case device != "cpu" && engine.CUDADevices > 0:
		where = 0
	}
	precision := torch.Float32
	if dtype == "bf16" || dtype == "auto" && where != torch.CPU {
		precision = torch.BFloat16
	}
	return where, precision, nil
}

// Memory is the memory of a device in bytes: the GPU's, or the machine's for the CPU.
func Memory(d torch.Device) int64 {
	if d != torch.CPU {
		total, _ := torch.Memory(d)
		return total
	}
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return math.MaxInt64
	}
	return kilobytes(string(text), "MemTotal:")
}

// kilobytes finds a line such as "MemTotal: 123 kB" and returns its value in bytes, 0 if there is none.
func kilobytes(text, key string) int64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			if fields := strings.Fields(rest); len(fields) > 0 {
				n, _ := strconv.ParseInt(fields[0], 10, 64)
				return n * 1024
			}
		}
	}
	return 0
}

// PeakMemory is the peak memory so far in bytes: of tensors on a GPU, of the process on a CPU.
func PeakMemory(d torch.Device) int64 {
	if d != torch.CPU {
		_, peak := torch.Memory(d)
		return peak
	}
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	return kilobytes(string(text), "VmHWM:")
}
