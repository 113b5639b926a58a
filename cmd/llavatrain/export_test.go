package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/tokenizer"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/train/export"
)

// sameTensors checks that two folders have the same tensors, bit for bit.
func sameTensors(t *testing.T, a, b string) {
	t.Helper()
	first, second := openWeights(t, a), openWeights(t, b)
	names := first.Names()
	if got := second.Names(); fmt.Sprint(got) != fmt.Sprint(names) {
		t.Fatalf("%s holds %d tensors, %s %d, or other names", a, len(names), b, len(got))
	}
	for _, name := range names {
		x, err := first.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		y, err := second.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(x.Info) != fmt.Sprint(y.Info) || !bytes.Equal(x.Data, y.Data) {
			t.Errorf("%s: %v in %s, %v in %s, or other bits", name, x.Info, a, y.Info, b)
		}
	}
}

// Folders that other programs wrote come back bit for bit in the same layout and, through the other layout, in
// everything that both can express.
func TestExportedFoldersRoundTrip(t *testing.T) {
	hf, original := linked(t, shared(t, "parity", "llava-hf")), linked(t, shared(t, "parity", "llava-original"))
	edit(t, filepath.Join(original, "config.json"), map[string]any{"mm_vision_tower": shared(t, "parity", "clip")})
	out := t.TempDir()
	export := func(from, format, dtype string) string {
		t.Helper()
		entries, err := os.ReadDir(out)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(out, fmt.Sprint(len(entries)))
		args := []string{"export", from, "--format", format, "--out", to, "--shards", "3MB"}
		if dtype != "" {
			args = append(args, "--dtype", dtype)
		}
		command(t, 0, args...)
		return to
	}
	sameTensors(t, hf, export(hf, "hf", ""))
	sameTensors(t, original, export(original, "llava", ""))
	sameTensors(t, hf, export(export(hf, "llava", ""), "hf", ""))
	for _, dtype := range []string{"fp32", "bf16", "fp16"} {
		for _, format := range []string{"hf", "llava"} {
			once := export(original, format, dtype)
			sameTensors(t, once, export(once, format, ""))
			info, _ := openWeights(t, once).Info(map[string]string{"hf": "language_model.lm_head.weight",
				"llava": "lm_head.weight"}[format])
			if want := map[string]checkpoints.Dtype{"fp32": checkpoints.F32, "bf16": checkpoints.BF16,
				"fp16": checkpoints.F16}[dtype]; info.Dtype != want {
				t.Errorf("%s of %s has dtype %s", format, dtype, info.Dtype)
			}
		}
	}
	projector := export(original, "projector", "")
	sameTensors(t, projector, export(original, "projector", "fp32"))
	sameTensors(t, filepath.Join(projector, "mm_projector.safetensors"), projector)
}

// So do folders of every family, with their tokenizers, SigLIP, and tied embeddings, which are written once.
func TestExportedFamiliesRoundTrip(t *testing.T) {
	for _, f := range families {
		t.Run(f.name+" "+f.template, func(t *testing.T) {
			out, source := t.TempDir(), f.folder(t)
			export := func(from, format string) string {
				to := filepath.Join(out, filepath.Base(from)+"-"+format)
				command(t, 0, "export", from, "--format", format, "--out", to)
				return to
			}
			sameTensors(t, source, export(source, "llava"))
			hf := export(source, "hf")
			sameTensors(t, hf, export(hf, "hf"))
			original := export(hf, "llava")
			sameTensors(t, hf, export(original, "hf"))
			_, untied := openWeights(t, hf).Info("language_model.lm_head.weight")
			if untied == (f.language["tie_word_embeddings"] == true) {
				t.Errorf("head: %v", untied)
			}
			if f.tower == nil { // the other towers have the norm after their last layer
				sameTensors(t, source, original)
			}
			want := command(t, 0, "generate", source, "--prompt", "Why?", "--max-tokens", "6")
			for _, folder := range []string{hf, original} {
				if got := command(t, 0, "generate", folder, "--prompt", "Why?", "--max-tokens", "6"); got != want {
					t.Errorf("%s answers %q, want %q", folder, got, want)
				}
				const name = "preprocessor_config.json"
				same := bytes.Equal(read(t, filepath.Join(folder, name)), read(t, filepath.Join(source, name)))
				if pads := folder == hf; same == pads { // which transformers has in a processor of its own
					t.Errorf("%s: %s is that of the source: %v", folder, name, same)
				}
				processor, err := picture.OpenProcessor(folder, 0)
				original, sourceErr := picture.OpenProcessor(source, 0)
				if err != nil || sourceErr != nil || *processor != *original {
					t.Errorf("%s: image processor %+v, %v, want %+v, %v", folder, processor, err, original, sourceErr)
				}
				if _, err := os.Stat(filepath.Join(folder, "tokenizer.model")); (err == nil) != (f.vocab == "") {
					t.Errorf("tokenizer.model of %s: %v", folder, err)
				}
			}
		})
	}
}

// The rows of <image> and <pad>, and those up to a multiple of 64, are the mean of the input embedding in both
// matrices.
func TestExportedRowsOfNewTokens(t *testing.T) {
	original := linked(t, shared(t, "parity", "llava-original"))
	edit(t, filepath.Join(original, "config.json"), map[string]any{"mm_vision_tower": shared(t, "parity", "clip")})
	to := filepath.Join(t.TempDir(), "hf")
	command(t, 0, "export", original, "--format", "hf", "--out", to)
	floats := func(folder, name string) []float32 {
		x, err := openWeights(t, folder).Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		values, err := x.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		return values
	}
	info, _ := openWeights(t, original).Info("model.embed_tokens.weight")
	rows, width := int(info.Shape[0]), int(info.Shape[1])
	grow := (rows+2+63)/64*64 - rows // for <image> and <pad>, to a multiple of 64
	old := floats(original, "model.embed_tokens.weight")
	mean := make([]float64, width)
	for i, x := range old {
		mean[i%width] += float64(x) / float64(rows)
	}
	for _, matrix := range []string{"model.embed_tokens", "lm_head"} {
		grown := floats(to, "language_model."+matrix+".weight")
		if len(grown) != (rows+grow)*width {
			t.Fatalf("%s has %d rows", matrix, len(grown)/width)
		}
		for i, x := range grown[rows*width:] {
			if d := float64(x) - mean[i%width]; d > 1e-6 || d < -1e-6 {
				t.Fatalf("%s: value %d of the new rows is %v, the mean %v", matrix, i, x, mean[i%width])
			}
		}
	}
}

// An hf folder has one chat template, that of the training, and both layouts keep the tokenizer.model beside a
// tokenizer.json, unless it would be read in its place. llama.cpp's converter prefers a template in
// tokenizer_config.json, and wants the tokenizer.model of a Phi-3.
func TestExportedTokenizerFiles(t *testing.T) {
	for name, c := range map[string]struct {
		config object
		pieces bool
	}{
		"class of another": {object{"tokenizer_class": "PreTrainedTokenizerFast"}, true},
		"tokens that strip": {object{"added_tokens_decoder": object{
			"900": object{"content": "<|endoftext|>", "rstrip": true, "special": true}}}, true},
		"chosen by the recipe": {object{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			source, out := families[len(families)-1].folder(t), t.TempDir()
			c.config["chat_template"] = "{{ messages }}"
			edit(t, filepath.Join(source, "tokenizer_config.json"), c.config)
			write(t, filepath.Join(source, "tokenizer.model"),
				string(read(t, shared(t, "llama-tokenizer", "tokenizer.model"))))
			r, notes, err := model.ReadLLaVA(source, "")
			if err != nil {
				t.Fatal(err)
			}
			r.Language.Tokenizer = recipes.Tokenizer{Path: filepath.Join(source, "tokenizer.json"), Legacy: "auto"}
			for _, format := range []string{"hf", "llava"} {
				to := filepath.Join(out, format)
				err = export.Conversion{Model: r, Notes: notes, Format: format, Out: to,
					Report: program.NewTerminal(io.Discard)}.Run()
				if err != nil {
					t.Fatal(err)
				}
				if got := checkpoints.Exists(filepath.Join(to, "tokenizer.model")); got != c.pieces {
					t.Errorf("%s: tokenizer.model is there: %v, want %v", format, got, c.pieces)
				}
				if tokenizer, err := tokenizer.OpenTokenizer(to, "auto"); err != nil {
					t.Error(err)
				} else if _, read := tokenizer.File(); read != "tokenizer.json" {
					t.Errorf("%s: %s is read", format, read)
				}
			}
			hf := filepath.Join(out, "hf")
			config := string(read(t, filepath.Join(hf, "tokenizer_config.json")))
			if strings.Contains(config, "chat_template") ||
				!checkpoints.Exists(filepath.Join(hf, "chat_template.jinja")) {
				t.Errorf("the template is in tokenizer_config.json: %s", config)
			}
		})
	}
}
