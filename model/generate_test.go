package model

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
	"github.com/llavatrain/llavatrain/recipes"
)

func answer(t *testing.T, m *LLaVA, prompt Input, how Sampling) (ids []int32) {
	t.Helper()
	if err := m.Generate(prompt, how, func(id int32) bool { ids = append(ids, id); return true }); err != nil {
		t.Fatal(err)
	}
	return ids
}

// recordedAnswer is a prompt of ../../shared/parity/llava-hf.json.
type recordedAnswer struct {
	Pixels   string  `json:"pixels"`
	InputIDs []int64 `json:"input_ids"` // -200 where the picture goes
	NewIDs   []int32 `json:"new_ids"`
	Logits   string  `json:"logits"`
}

func floatsOf(t *testing.T, path, name string) []float32 {
	t.Helper()
	w, err := checkpoints.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	tensor, err := w.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	values, err := tensor.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// levelsOf turns normalised pixels [3,S,S] back into the levels they came from.
func levelsOf(t *testing.T, pixels []float32) []uint8 {
	t.Helper()
	table, out := clipTable(), make([]uint8, len(pixels))
	for i, x := range pixels {
		channel := i / (len(pixels) / 3)
		level := slices.Index(table[channel*256:(channel+1)*256], x)
		if level < 0 {
			t.Fatalf("pixel value %v of channel %d is not in the table", x, channel)
		}
		out[i] = uint8(level)
	}
	return out
}

func (a recordedAnswer) prompt(t *testing.T, dir string) Input {
	t.Helper()
	in := Input{Pixels: levelsOf(t, floatsOf(t, filepath.Join(dir, "pixels.safetensors"), a.Pixels))}
	for _, id := range a.InputIDs {
		if id != -200 {
			in.IDs = append(in.IDs, id)
			continue
		}
		for row := range int64(patchesOf(t, dir)) {
			in.Slots, in.Rows = append(in.Slots, int64(len(in.IDs))), append(in.Rows, row)
			in.IDs = append(in.IDs, 0)
		}
	}
	for i := range in.IDs {
		in.Positions = append(in.Positions, int64(i))
	}
	in.Starts = []int64{0, int64(len(in.IDs))}
	return in
}

func TestAnswersMatchTheOriginal(t *testing.T) {
	dir := torchtest.Shared(t, "../../shared/parity")
	text, err := os.ReadFile(filepath.Join(dir, "llava-hf.json"))
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Prompts []recordedAnswer `json:"prompts"`
	}
	if err := json.Unmarshal(text, &recorded); err != nil || len(recorded.Prompts) == 0 {
		t.Fatalf("llava-hf.json holds no prompts: %v", err)
	}
	whole := filepath.Join(dir, "llava-original") // the trained language model and projector; the tower is as it was
	m := openModel(t, recipes.Model{
		Vision:    recipes.Vision{Weights: filepath.Join(dir, "clip"), SelectLayer: -2, SelectFeature: "patch"},
		Projector: recipes.Projector{Type: "mlp2x_gelu"}, Language: recipes.Language{Weights: whole},
	}, OpenOptions{})
	for _, a := range recorded.Prompts {
		prompt := a.prompt(t, dir)
		got := answer(t, m, prompt, Sampling{MaxTokens: len(a.NewIDs)})
		if !slices.Equal(got, a.NewIDs) || len(got) == 0 {
			t.Errorf("%s: answer %v, want %v", a.Logits, got, a.NewIDs)
		}
		prompt.Wanted = []int64{int64(len(prompt.IDs)) - 1}
		do(t, func(s *torch.Scope) {
			logits := torch.Read[float32](m.Logits(s, m.Forward(s, prompt).Hidden))
			compare(t, a.Logits, logits, floatsOf(t, filepath.Join(dir, "llava-hf-logits.safetensors"), a.Logits))
		})
	}
}

// One token at a time over the cache must be what one pass over all of them gives.
func TestTheCacheGivesWhatAFullPassGives(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 3})
	prompt := flat([]int64{1, -1, 2, 3})
	ids := answer(t, m, prompt, Sampling{MaxTokens: 12})
	if len(ids) != 12 {
		t.Fatalf("%d tokens, want 12", len(ids))
	}
	all := prompt
	for _, id := range ids {
		all.Positions = append(all.Positions, int64(len(all.IDs)))
		all.IDs = append(all.IDs, int64(id))
	}
	all.Starts = []int64{0, int64(len(all.IDs))}
	do(t, func(s *torch.Scope) {
		logits := torch.Read[float32](m.Logits(s, m.Forward(s, all).Hidden))
		for i, id := range ids {
			row := logits[(len(prompt.IDs)+i-1)*11:][:11]
			if best := slices.Index(row, slices.Max(row)); int32(best) != id {
				t.Errorf("token %d is %d, a full pass prefers %d", i, id, best)
			}
		}
	})
}

func TestAnswersEnd(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 3})
	prompt := flat([]int64{1, 2, 3})
	free := answer(t, m, prompt, Sampling{MaxTokens: 8})
	stop := free[4]
	first := slices.Index(free, stop)
	if got := answer(t, m, prompt, Sampling{MaxTokens: 8, Stop: []int32{stop}}); !slices.Equal(got, free[:first]) {
		t.Errorf("stopped by %d: %v, want %v", stop, got, free[:first])
	}
	var some []int32
	if err := m.Generate(prompt, Sampling{MaxTokens: 8},
		func(id int32) bool { some = append(some, id); return len(some) < 3 }); err != nil ||
		!slices.Equal(some, free[:3]) {
		t.Errorf("told to stop after 3: %v, %v", some, err)
	}
	if got := answer(t, m, prompt, Sampling{MaxTokens: 0}); len(got) != 0 {
		t.Errorf("no tokens wanted, got %v", got)
	}
}

func TestAnswersEndWithTheLastPosition(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 3})
	long := flat([]int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	// positions 30 and 31, and what follows the last
	if got := answer(t, m, long, Sampling{MaxTokens: 100}); len(got) != 3 {
		t.Errorf("%d tokens behind a prompt of 30 in 32 positions, want 3", len(got))
	}
	over := flat(append(long.IDs, 1, 2, 3))
	err := m.Generate(over, Sampling{MaxTokens: 1}, func(int32) bool { return true })
	if err == nil || !strings.Contains(err.Error(), "prompt takes 33 positions and the model has 32") {
		t.Errorf("a prompt of 33 positions: %v", err)
	}
}

// counting counts the passes of a language model.
type counting struct {
	Language
	passes int
}

func (c *counting) Forward(s *torch.Scope, in LanguageInput) LanguageOutput {
	c.passes++
	return c.Language.Forward(s, in)
}

func TestEachTokenTakesOnePass(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 3})
	inner := m.Language
	defer func() { m.Language = inner }()
	count := &counting{Language: inner}
	m.Language = count
	if answer(t, m, flat([]int64{1, 2}), Sampling{MaxTokens: 5}); count.passes != 5 {
		t.Errorf("%d passes for 5 tokens", count.passes)
	}
}

func TestSamplingDependsOnTheSeed(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 3})
	prompt := flat([]int64{1, 2, 3})
	draw := func(seed uint64) []int32 {
		return answer(t, m, prompt, Sampling{MaxTokens: 20, Temperature: 2, TopP: 1, Seed: seed})
	}
	if !slices.Equal(draw(1), draw(1)) {
		t.Error("one seed gives two answers")
	}
	if slices.Equal(draw(1), draw(2)) {
		t.Error("two seeds give one answer of 20 tokens")
	}
	if greedy := answer(t, m, prompt, Sampling{MaxTokens: 20}); !slices.Equal(greedy,
		answer(t, m, prompt, Sampling{MaxTokens: 20, Seed: 9})) {
		t.Error("the seed changes a greedy answer")
	}
}

// batchOfPrompts are prompts of several lengths, with pictures and without.
func batchOfPrompts() []Input {
	return []Input{flat([]int64{1, 2, 3}), flat([]int64{1, -1, 2, 3}), flat([]int64{4}),
		flat([]int64{1, 5, 6, 7, 8, 9, -1}), flat([]int64{1, -1, 2, 3}), flat([]int64{10, 9})}
}

// batchAnswers are the answers to prompts that are asked together; the i-th has stream streams[i].
func batchAnswers(t *testing.T, m *LLaVA, prompts []Input, streams []uint64, how Sampling) [][]int32 {
	t.Helper()
	answers, batch := make([][]int32, len(prompts)), make([]Prompt, len(prompts))
	for i, p := range prompts {
		batch[i] = Prompt{Input: p, Stream: streams[i],
			Emit: func(id int32) bool { answers[i] = append(answers[i], id); return true }}
	}
	if err := m.GenerateBatch(batch, how); err != nil {
		t.Fatal(err)
	}
	return answers
}

// What a question is answered does not depend on those beside it: greedy and sampled, with answers that end at
// different times, and with windows that the answers outgrow.
func TestBatchAnswersEqualThoseOfOne(t *testing.T) {
	windows := tinyLanguage.with(object{"model_type": "mistral", "sliding_window": 5})
	for name, language := range map[string]object{"llama": tinyLanguage, "mistral": windows} {
		m := openModel(t, tinyRecipe(t, language, tinyVision), OpenOptions{Seed: 3})
		prompts := batchOfPrompts()
		for _, how := range []Sampling{
			{MaxTokens: 20}, {MaxTokens: 20, Stop: []int32{answer(t, m, prompts[0], Sampling{MaxTokens: 20})[6]}},
			{MaxTokens: 100},
			{MaxTokens: 20, Temperature: 2, TopP: 0.9, Seed: 5},
		} {
			var want [][]int32
			var streams []uint64
			lengths := map[int]bool{}
			for i, p := range prompts {
				streams = append(streams, uint64(i))
				one := batchAnswers(t, m, []Input{p}, []uint64{uint64(i)}, how)[0]
				want, lengths[len(one)] = append(want, one), true
			}
			if how.MaxTokens == 100 && len(lengths) < 4 { // up to the model's last position
				t.Errorf("answers to prompts of five lengths have only the lengths %v", lengths)
			}
			if got := batchAnswers(t, m, prompts, streams, how); !slices.EqualFunc(got, want, slices.Equal) {
				t.Errorf("%s, %+v: together %v, alone %v", name, how, got, want)
			}
			if slices.Equal(want[1], want[4]) != (how.Temperature == 0) {
				t.Errorf("%s, %+v: one question twice is answered %v and %v", name, how, want[1], want[4])
			}
		}
	}
}

func TestBatchTakesOnePassForEachToken(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 3})
	inner := m.Language
	defer func() { m.Language = inner }()
	count := &counting{Language: inner}
	m.Language = count
	batchAnswers(t, m, batchOfPrompts(), make([]uint64, 6), Sampling{MaxTokens: 5})
	if count.passes != 1+4 { // the first computes all prompts, and a token of each
		t.Errorf("%d passes for six prompts and five tokens of each", count.passes)
	}
}

func TestBatchRefusesALongPrompt(t *testing.T) {
	m := openModel(t, tinyRecipe(t, tinyLanguage, tinyVision), OpenOptions{Seed: 3})
	over := flat(slices.Repeat([]int64{1}, 33))
	err := m.GenerateBatch([]Prompt{{Input: flat([]int64{1})}, {Input: over}}, Sampling{MaxTokens: 1})
	if err == nil || !strings.Contains(err.Error(), "prompt takes 33 positions and the model has 32") {
		t.Errorf("a prompt of 33 positions among others: %v", err)
	}
}

func probabilities(logits []float32, temperature float64) []float64 {
	out, sum := make([]float64, len(logits)), 0.0
	for i, x := range logits {
		out[i] = math.Exp(float64(x) / temperature)
		sum += out[i]
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

func TestSamplingFollowsTheTemperature(t *testing.T) {
	logits := []float32{0.5, -1, 2, 0, 1}
	for _, temperature := range []float64{0.5, 1, 3} {
		how := newSampler(Sampling{Temperature: temperature, TopP: 1, Seed: 1}, 1, nil)
		counts := make([]float64, len(logits))
		const draws = 20000
		for range draws {
			counts[how.choose(logits)]++
		}
		for i, p := range probabilities(logits, temperature) {
			if got := counts[i] / draws; math.Abs(got-p) > 0.015 {
				t.Errorf("temperature %v: token %d drawn with frequency %v, want %v", temperature, i, got, p)
			}
		}
	}
}

func TestNucleusIsTheSmallestLikelySet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logits := rapid.SliceOfN(rapid.Float32Range(-20, 20), 1, 30).Draw(t, "logits")
		how := newSampler(Sampling{Temperature: rapid.Float64Range(0.1, 5).Draw(t, "temperature"),
			TopP: rapid.Float64Range(0.01, 0.99).Draw(t, "top p"), Seed: rapid.Uint64().Draw(t, "seed")}, 0, nil)
		order, weights := how.candidates(logits, float64(slices.Max(logits)))
		p := probabilities(logits, how.Temperature)
		sum, inside := 0.0, map[int32]bool{}
		for i, id := range order {
			if i > 0 && len(order) < len(logits) && logits[id] > logits[order[i-1]] {
				t.Fatalf("%v is not in the order of likelihood", order)
			}
			if math.Abs(weights[i]/weights[0]-p[id]/p[order[0]]) > 1e-6 {
				t.Fatalf("token %d has weight %v of the best, want %v", id, weights[i]/weights[0], p[id]/p[order[0]])
			}
			if i == len(order)-1 && len(order) < len(logits) && sum >= how.TopP+1e-9 {
				t.Fatalf("%d tokens have %v already, %v is wanted", i, sum, how.TopP)
			}
			sum += p[id]
			inside[id] = true
		}
		if sum < how.TopP-1e-9 || len(inside) != len(order) {
			t.Fatalf("%d tokens have %v of the probability, want %v", len(inside), sum, how.TopP)
		}
		for id := range logits {
			likelier := func(in int32) bool { return logits[id] > logits[in] }
			if !inside[int32(id)] && slices.ContainsFunc(order, likelier) {
				t.Fatalf("token %d is likelier than one inside", id)
			}
		}
		if id := how.choose(logits); !inside[id] {
			t.Fatalf("token %d was drawn from outside", id)
		}
	})
}

func TestNucleusOfOneOrNothingIsAll(t *testing.T) {
	for _, topP := range []float64{0, 1} {
		how := newSampler(Sampling{Temperature: 1, TopP: topP}, 0, nil)
		if order, _ := how.candidates([]float32{0, 3, -2}, 3); len(order) != 3 {
			t.Errorf("top p %v keeps %v", topP, order)
		}
	}
}

func TestCandidates(t *testing.T) {
	logits := []float32{0, 3, -2, 3, 1}
	for _, c := range []struct {
		how  Sampling
		want []int32
	}{
		{Sampling{TopK: 2}, []int32{1, 3}},
		{Sampling{TopK: 3}, []int32{1, 3, 4}},
		{Sampling{TopK: 9, TopP: 1}, []int32{1, 3, 4, 0, 2}},
		{Sampling{MinP: 0.1}, []int32{1, 3, 4}},
		{Sampling{TopK: 3, TopP: 0.5}, []int32{1, 3}}, // of the three's weight, the first has less than half
		{Sampling{TopP: 0.4}, []int32{1}},
	} {
		c.how.Temperature = 1
		order, weights := newSampler(c.how, 0, nil).candidates(logits, 3)
		if !slices.Equal(order, c.want) || len(weights) < len(order) {
			t.Errorf("%+v: %v, want %v", c.how, order, c.want)
		}
	}
}

func TestRepetitionPenalty(t *testing.T) {
	how := newSampler(Sampling{RepetitionPenalty: 2, Logprobs: true, Top: 2}, 0, []int64{0, 2})
	logits := []float32{3, 2, -1, 1.9}
	got := how.next(slices.Clone(logits)) // 1.5, 2, -2, 1.9
	if got.ID != 1 || len(got.Top) != 2 || got.Top[0].ID != 0 || got.Top[1].ID != 1 {
		t.Errorf("token %+v", got)
	}
	if want := math.Log(probabilities(logits, 1)[1]); math.Abs(got.Logprob-want) > 1e-6 {
		t.Errorf("log-probability %v, want %v: before the penalty", got.Logprob, want)
	}
	if again := how.next(slices.Clone(logits)); again.ID != 3 { // 1 is penalised from now on
		t.Errorf("second token %+v", again)
	}
}
