package looking

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/train"
	"github.com/llavatrain/llavatrain/train/device"
)

// NewDoctor returns the command doctor.
func NewDoctor(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Show what this machine offers, and the most important thing to fix",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			engine, err := torch.Open()
			for _, row := range findings(engine) {
				fmt.Fprintf(p.Out, "%-12s %s\n", row[0], row[1])
			}
			fix := advice(engine, err)
			fmt.Fprintf(p.Out, "%-12s %s\n", "to fix", fix)
			return err
		},
	}
}

// findings is the table that doctor prints.
func findings(e torch.Engine) [][2]string {
	cuda := fmt.Sprintf("yes, %d device(s): %s", e.CUDADevices, strings.Join(cardNames(), ", "))
	if e.CUDADevices == 0 {
		cuda = "no: " + e.WhyNoCUDA
	}
	rows := [][2]string{
		{"llavatrain", program.Version + ", built with " + runtime.Version()},
		{"libtorch", fmt.Sprintf("%s (built against %s) at %s", e.Version, e.BuiltAgainst, filepath.Dir(e.Path))},
		{"CUDA", cuda},
		{"kernels", kernels()},
		{"threads", fmt.Sprintf("%d for the engine, %d cores", train.DefaultThreads(), runtime.NumCPU())},
		{"BLAS", blas(e.Config)},
		{"bf16", bf16(e)},
		{"memory", fmt.Sprintf("%.1f GB", float64(device.Memory(torch.CPU))/1e9)},
		{"disk", disk()},
	}
	if e.CUDADevices > 0 {
		rows = append(rows, kernelChecks()...)
	}
	return rows
}

// kernelChecks compares our kernels with libtorch's operations on the first GPU.
func kernelChecks() (rows [][2]string) {
	for _, line := range torch.LoadKernels(0) {
		rows = append(rows, [2]string{"kernels", line})
	}
	for _, check := range torch.CheckKernels(0) {
		text := fmt.Sprintf("%s: differs from libtorch's by at most %.1g (fp32) and %.1g (bf16) of the largest value",
			check.Operation, check.FP32, check.BF16)
		if check.Problem != "" {
			text = check.Operation + ": " + check.Problem
		}
		rows = append(rows, [2]string{"kernel", text})
	}
	return rows
}

// kernels says whether our own kernels can be compiled for a GPU.
func kernels() string {
	nvrtc, err := torch.FindNVRTC()
	if err != nil {
		return fmt.Sprintf("only libtorch's on a GPU: %v", err)
	}
	return fmt.Sprintf("our own on a GPU, by NVRTC %s at %s", nvrtc.Version, nvrtc.Path)
}

// advice is the most important thing to fix.
func advice(e torch.Engine, err error) string {
	free, diskErr := checkpoints.FreeSpace(".")
	switch {
	case err != nil:
		return err.Error()
	case e.CUDADevices == 0 && len(cardNames()) > 0:
		return "there is a GPU, but this libtorch cannot use it: " + e.WhyNoCUDA +
			"; point LD_LIBRARY_PATH at the lib folder of a PyTorch with CUDA"
	case errors.Is(diskErr, nil) && free < 5e9:
		return "less than 5 GB of disk here; stage 2 of a 7B model writes about 260 GB (two checkpoints of 81 GB, " +
			"one more while saving, the export)"
	default:
		return "nothing"
	}
}

var blasPattern = regexp.MustCompile(`BLAS_INFO=(\w+)`)

func blas(config string) string {
	if m := blasPattern.FindStringSubmatch(config); m != nil {
		return m[1]
	}
	return "unknown"
}

func bf16(e torch.Engine) string {
	if e.CUDADevices > 0 {
		return "on the GPU"
	}
	text, _ := os.ReadFile("/proc/cpuinfo")
	for _, flag := range []string{"amx_bf16", "avx512_bf16"} {
		if strings.Contains(string(text), flag) {
			return "in the processor (" + flag + "); training on a CPU uses fp32 unless the recipe sets bf16"
		}
	}
	return "emulated: training on a CPU uses fp32"
}

func disk() string {
	free, err := checkpoints.FreeSpace(".")
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%.1f GB free here", float64(free)/1e9)
}

// cardNames asks the driver for the NVIDIA GPUs of this machine.
func cardNames() (names []string) {
	files, _ := filepath.Glob("/proc/driver/nvidia/gpus/*/information")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "Model:"); ok {
				names = append(names, strings.TrimSpace(name))
			}
		}
	}
	return names
}
