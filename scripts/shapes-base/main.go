// Command shapes-base makes the demo's base folder from a finished run of the recipe shapes-base: the exported model
// without its projector, in bf16. Usage: shapes-base EXPORT FOLDER (see scripts/shapes-base.sh).
package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: shapes-base EXPORT FOLDER")
		os.Exit(2)
	}
	if err := convert(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "shapes-base:", err)
		os.Exit(1)
	}
}

func convert(export, folder string) error {
	w, err := checkpoints.Open(filepath.Join(export, "model.safetensors"))
	if err != nil {
		return err
	}
	defer w.Close()
	var tensors []checkpoints.Tensor
	for _, name := range w.Names() {
		if strings.Contains(name, "mm_projector") {
			continue
		}
		t, err := w.Tensor(name)
		if err != nil {
			return err
		}
		values, err := t.Float32s()
		if err != nil {
			return err
		}
		tensors = append(tensors, checkpoints.Tensor{
			Info: checkpoints.Info{Name: name, Dtype: checkpoints.BF16, Shape: t.Shape}, Data: bfloat16(values),
		})
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	for _, name := range []string{"config.json", "preprocessor_config.json", "tokenizer.model",
		"tokenizer_config.json"} {
		text, err := os.ReadFile(filepath.Join(export, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o666); err != nil {
			return err
		}
	}
	return checkpoints.WriteSafetensors(filepath.Join(folder, "model.safetensors"), nil, tensors)
}

// bfloat16 rounds to the nearest, ties to even.
func bfloat16(values []float32) []byte {
	out := make([]byte, 0, 2*len(values))
	for _, x := range values {
		bits := math.Float32bits(x)
		out = binary.LittleEndian.AppendUint16(out, uint16((bits+0x7fff+bits>>16&1)>>16))
	}
	return out
}
