package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/train/score"
)

// orientedRows writes three rows about one picture: t/a.png is stored turned, with an EXIF orientation; u/a.png is
// upright; p/a.png is stored turned without saying so. In rows.json they are in this order.
func orientedRows(t *testing.T, dir string) (rows string) {
	t.Helper()
	stored, upright := image.NewRGBA(image.Rect(0, 0, 20, 12)), image.NewRGBA(image.Rect(0, 0, 12, 20))
	for y := range 12 {
		for x := range 20 {
			c := color.RGBA{uint8(12 * x), uint8(20 * y), uint8(x * y), 255}
			stored.Set(x, y, c)
			upright.Set(11-y, x, c) // orientation 6: turn clockwise
		}
	}
	tiff := "MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
	chunk := []byte("eXIf" + tiff)
	whole := binary.BigEndian.AppendUint32(nil, uint32(len(tiff)))
	whole = binary.BigEndian.AppendUint32(append(whole, chunk...), crc32.ChecksumIEEE(chunk))
	const head = 8 + 25 // the signature and IHDR
	plain := encodedPNG(t, stored)
	var list []json.RawMessage
	for _, picture := range []struct{ folder, file string }{
		{"t", plain[:head] + string(whole) + plain[head:]}, {"u", encodedPNG(t, upright)}, {"p", plain},
	} {
		must(t, os.MkdirAll(filepath.Join(dir, picture.folder), 0o777))
		write(t, filepath.Join(dir, picture.folder, "a.png"), picture.file)
		list = append(list, json.RawMessage(pictureRow(picture.folder+"/a.png")))
	}
	rows = filepath.Join(dir, "rows.json")
	writeRows(t, rows, list)
	return rows
}

func encodedPNG(t *testing.T, m image.Image) string {
	t.Helper()
	var b bytes.Buffer
	must(t, png.Encode(&b, m))
	return b.String()
}

// Whatever says how images are read in training says it in evaluations, in scores and in answers too.
func TestScoredRowsAreReadAsTrained(t *testing.T) {
	dir := world(t)
	rows := orientedRows(t, dir)
	recipe, runDir := filepath.Join(dir, "world.yaml"), filepath.Join(dir, "runs", "world", "finetune")
	command(t, 0, "pretrain", recipe, "--set=pretrain.steps=1")
	command(t, 0, "finetune", recipe, "--set=finetune.steps=1", "--set=finetune.orientation=exif",
		fmt.Sprintf("--set=finetune.eval={data: [{path: %s, images: %s}]}", rows, dir))
	evaluations, _ := readEvaluations(t, runDir)
	by := evaluations[0].LossBySource
	if turned, plain := by["t"] == by["u"], by["t"] != by["p"]; !turned || !plain {
		t.Errorf("evaluation: losses %v: the first image is turned: %v, the last is not: %v", by, turned, plain)
	}
	for _, from := range []string{runDir, filepath.Join(runDir, "export")} {
		var losses []float64
		for line := range strings.Lines(scoreLines(t, dir, from, rows)) {
			var row score.RowScore
			if err := json.Unmarshal([]byte(line), &row); err != nil || row.Scored == nil {
				t.Fatalf("%s: %q, %v", from, line, err)
			}
			losses = append(losses, float64(row.Loss))
		}
		if len(losses) != 3 || losses[0] != losses[1] || math.Abs(losses[0]-losses[2]) == 0 {
			t.Errorf("score %s: losses %v: the first image is turned as the second stands, the last is not", from,
				losses)
		}
	}
	writeRows(t, filepath.Join(dir, "text.json"),
		[]json.RawMessage{json.RawMessage(turnsRow("", "human", "what is red", "gpt", "a red square"))})
	messages := command(t, 0, "finetune", recipe, "--overwrite", "--set=finetune.steps=1",
		"--set=finetune.orientation=exif", "--set=finetune.max_pixels=239", "--set=finetune.data=[{path: text.json}]",
		fmt.Sprintf("--set=finetune.eval={data: [{path: %s, images: %s}]}", rows, dir))
	if !strings.Contains(messages, "no row of eval.data can be scored, all 3 were skipped") {
		t.Errorf("images over max_pixels were scored:\n%s", messages)
	}
	requireLimit(t, dir, rows, runDir)
}

// requireLimit checks that a run with orientation: exif and max_pixels: 239, and every export of it, reads images so
// and says so.
func requireLimit(t *testing.T, dir, rows, runDir string) {
	t.Helper()
	models := []string{runDir, filepath.Join(runDir, "export")}
	for _, format := range []string{"hf", "llava"} {
		out := filepath.Join(dir, format)
		messages := command(t, 0, "export", runDir, "--format", format, "--out", out)
		if n := strings.Count(messages, "must turn them first"); n != 1 {
			t.Errorf("format %s: says %d times how images must be turned:\n%s", format, n, messages)
		}
		models = append(models, out)
	}
	for _, model := range models {
		complain(t, 2, []string{"PNG of 12x20 is over the limit of 239 pixels (max_pixels of a recipe's stage, " +
			"image_max_pixels in the config.json"}, "generate", model, "--image", filepath.Join(dir, "u", "a.png"),
			"--prompt", "what is red")
		complain(t, 2, []string{"none of the 3 rows"}, "score", model, rows)
	}
	for _, folder := range models[1:] {
		edit(t, filepath.Join(folder, "config.json"), map[string]any{"image_max_pixels": 240})
		command(t, 0, "generate", folder, "--image", filepath.Join(dir, "u", "a.png"), "--prompt", "what is red",
			"--max-tokens", "1")
	}
}

// scoreLines is what score writes about rows.
func scoreLines(t *testing.T, dir, model, rows string) string {
	t.Helper()
	out := filepath.Join(dir, "lines.jsonl")
	command(t, 0, "score", model, rows, "--out", out)
	return string(read(t, out))
}
