package model

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llavatrain/llavatrain/checkpoints"
)

// The shapes of LLaVA-1.5-13B.
var (
	language13B = object{"model_type": "llama", "hidden_size": 5120, "intermediate_size": 13824,
		"num_hidden_layers": 40, "num_attention_heads": 40, "vocab_size": 32000, "max_position_embeddings": 4096,
		"rms_norm_eps": 1e-5}
	visionL = object{"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096,
		"num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336, "patch_size": 14}
)

// writeHoles writes a model's tensors as bf16 in shards of 5 GB whose data are holes: the files take no room on the
// disk.
func writeHoles(t *testing.T, dir string, contents *Contents) (bytes int64) {
	t.Helper()
	const shard = 5 << 30
	files, index := [][]checkpoints.Info{nil}, map[string]string{}
	for _, c := range contents.list {
		info := checkpoints.Info{Name: c.name, Dtype: checkpoints.BF16, Shape: c.shape()}
		if bytes += info.Bytes(); bytes/shard > int64(len(files)-1) {
			files = append(files, nil)
		}
		files[len(files)-1] = append(files[len(files)-1], info)
		index[c.name] = fmt.Sprintf("part-%d", len(files))
	}
	save := func(name string, text []byte, size int64) {
		path := filepath.Join(dir, name)
		err := os.WriteFile(path, text, 0o666)
		if err == nil {
			err = os.Truncate(path, int64(len(text))+size)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, infos := range files {
		header, at := map[string]any{}, int64(0)
		for _, info := range infos {
			header[info.Name] = map[string]any{"dtype": info.Dtype, "shape": info.Shape,
				"data_offsets": []int64{at, at + info.Bytes()}}
			at += info.Bytes()
		}
		text := raw(t, header)
		save(fmt.Sprintf("part-%d", i+1), append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), at)
	}
	save("model.safetensors.index.json", raw(t, object{"weight_map": index}), 0)
	return bytes
}

// resident is the memory that the process has in use, in bytes.
func resident(t *testing.T) (bytes int64) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscan(after, &bytes); err != nil {
		t.Fatal(err)
	}
	return bytes << 10
}

// A 13B model opens by its headers: within two seconds and a gigabyte, and no tensor is read for it.
func TestThirteenBillionOpenQuickly(t *testing.T) {
	r := tinyRecipe(t, language13B, visionL)
	declared, err := Inspect(r, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	bytes := writeHoles(t, dir, declared)
	declared.Close()
	config := language13B.with(object{"model_type": "llava_llama", "mm_vision_select_layer": -2,
		"mm_projector_type": "mlp2x_gelu", "vision_config": visionL})
	if bytes < 26e9 {
		t.Fatalf("%d bytes are no 13B model", bytes)
	}
	writeConfig(t, dir, config)
	m, _, err := ReadLLaVA(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	before, begin := resident(t), time.Now()
	contents, err := Inspect(m, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer contents.Close()
	took, grown := time.Since(begin), resident(t)-before
	t.Logf("%.1f GB, %d tensors: %v, %d MB", float64(bytes)/1e9, len(contents.list), took, grown>>20)
	if took > 2*time.Second || grown > 1<<30 {
		t.Errorf("opening took %v and %d MB", took, grown>>20)
	}
	if _, err := contents.Export(ExportOptions{Format: "hf", Dtype: checkpoints.BF16,
		SpecialTokens: SpecialTokens{Image: 32000, Pad: 32001}}); err != nil {
		t.Error(err)
	}
}
