package runs

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/runs/tensorboard"
)

func stepMetrics(step int) Metrics {
	return Metrics{
		Step: step, Epoch: 0.5, Loss: Number(step) / 3,
		LossBy: map[string]Number{"image": 2, "text": Number(math.NaN())},
		LR:     map[string]Number{"projector": 1e-3}, GradNorm: Number(math.Inf(1)), Tokens: 7,
		Slowest: &Slowest{Rank: 1, MS: 2.5}, PeakMemoryBytes: 1 << 40,
	}
}

// boardOf reads a board: "tag@step" with its number or text.
func boardOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, TensorBoardDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, path := range files { // Glob sorts
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = tensorboard.Read(bytes.NewReader(data), func(e tensorboard.Event) bool {
			for _, v := range e.Values {
				key := fmt.Sprintf("%s@%d", v.Tag, e.Step)
				if _, twice := all[key]; twice {
					t.Errorf("%s stands there twice", key)
				}
				all[key] = fmt.Sprint(v.Number)
				if v.Kind == tensorboard.Text {
					all[key] = v.Text
				}
			}
			return true
		})
		if err != nil {
			t.Error(err)
		}
	}
	return all
}

func TestBoardShowsEveryNumber(t *testing.T) {
	dir := t.TempDir()
	b, err := OpenBoard(dir, 0, "name: x\nseed: 1\n", map[string]string{"seed": "1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		b.Step(stepMetrics(1)),
		b.Evaluation(Evaluation{Step: 1, Loss: 3, LossBySource: map[string]Number{"coco/train": 4}}),
		b.Benchmark(Benchmarked{Step: 1, Benchmark: "pope", Metrics: map[string]Number{"f1": 85.5}, Questions: 9}),
		b.Finished(1), b.Sync(), b.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := boardOf(t, dir)
	for key, want := range map[string]string{
		"train/loss@1": "0.33333334", "train/loss_by/image@1": "2", "train/loss_by/text@1": "NaN",
		"train/epoch@1":        "0.5",
		"train/lr/projector@1": "0.001", "train/grad_norm@1": "+Inf", "train/tokens@1": "7",
		"train/slowest/rank@1": "1",
		"train/slowest/ms@1":   "2.5", "train/peak_memory_bytes@1": "1.0995116e+12", "eval/loss@1": "3",
		"eval/loss_by_source/coco/train@1": "4", "benchmark/pope/f1@1": "85.5", "recipe@0": "    name: x\n    seed: 1",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	for _, key := range []string{"_hparams_/experiment@0", "_hparams_/session_start_info@0",
		"_hparams_/session_end_info@1"} {
		if _, ok := got[key]; !ok {
			t.Errorf("%s is missing among %q", key, slices.Sorted(maps.Keys(got)))
		}
	}
	for _, key := range []string{"train/step@1", "benchmark/pope/step@1", "benchmark/pope/questions@1"} {
		if _, ok := got[key]; ok {
			t.Errorf("%s is shown", key)
		}
	}
}

// What the files lack of metrics and evaluations is written, and nothing twice, whatever was lost.
func TestBoardIsCompleted(t *testing.T) {
	whole := t.TempDir()
	write := func(dir, name string, record any) {
		t.Helper()
		log, err := checkpoints.OpenJSONL(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := log.Append(record); err != nil {
			t.Fatal(err)
		}
		log.Close()
	}
	b, err := OpenBoard(whole, 0, "r", nil)
	if err != nil {
		t.Fatal(err)
	}
	for step := 1; step <= 4; step++ {
		write(whole, MetricsFile, stepMetrics(step))
		if err := b.Step(stepMetrics(step)); err != nil {
			t.Fatal(err)
		}
		if e := (Evaluation{Step: step, Loss: 1}); step%2 == 0 {
			write(whole, EvalFile, e)
			if err := b.Evaluation(e); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"pope", "gqa"} {
				r := Benchmarked{Step: step, Benchmark: name, Metrics: map[string]Number{"accuracy": Number(step)}}
				write(whole, EvalFile, r)
				if err := b.Benchmark(r); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	b.Close()
	want := boardOf(t, whole)
	files, err := filepath.Glob(filepath.Join(whole, TensorBoardDir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	size := int(must(os.Stat(files[0])).Size())
	for _, left := range []int{size, size - 1, size / 2, size / 3, 45, 0, -1} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		if left < 0 {
			os.RemoveAll(filepath.Join(dir, TensorBoardDir))
		} else if err := os.Truncate(filepath.Join(dir, TensorBoardDir, filepath.Base(files[0])),
			int64(left)); err != nil {
			t.Fatal(err)
		}
		write(dir, EvalFile, Evaluation{Step: 6}) // of steps that a resume undoes
		b, err := OpenBoard(dir, 4, "r", nil)
		if err != nil {
			t.Fatal(err)
		}
		b.Close()
		got := boardOf(t, dir)
		forgetRecipe(got)
		if forgetRecipe(want); !cmp.Equal(want, got) {
			t.Errorf("%d of %d bytes were left (-want +got):\n%s", left, size, cmp.Diff(want, got))
		}
	}
}

// The recipe is written once, and again if the run goes on with another.
func TestBoardShowsTheRecipeOnce(t *testing.T) {
	dir := t.TempDir()
	for step, recipe := range []string{"a\nb", "a\nb", "other"} {
		b, err := OpenBoard(dir, step, recipe, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Step(stepMetrics(step + 1)); err != nil {
			t.Fatal(err)
		}
		b.Close()
	}
	var recipes []string
	for key := range boardOf(t, dir) {
		if strings.HasPrefix(key, "recipe@") {
			recipes = append(recipes, key)
		}
	}
	slices.Sort(recipes)
	if diff := cmp.Diff([]string{"recipe@0", "recipe@2"}, recipes); diff != "" {
		t.Error(diff)
	}
}

func TestNoBoard(t *testing.T) {
	var b *Board
	for _, err := range []error{b.Step(Metrics{}), b.Evaluation(Evaluation{}), b.Finished(1), b.Sync(), b.Close()} {
		if err != nil {
			t.Error(err)
		}
	}
}

// forgetRecipe removes what stands at the step of whichever start wrote the recipe.
func forgetRecipe(board map[string]string) {
	maps.DeleteFunc(board, func(key, _ string) bool {
		return strings.HasPrefix(key, "recipe@") || strings.HasPrefix(key, "_hparams_")
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
