package model

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/model/torch/torchtest"
	"github.com/llavatrain/llavatrain/recipes"
)

// servedLanguage has positions for conversations, and heads that our kernels take.
var servedLanguage = tinyLanguage.with(object{"hidden_size": 64, "max_position_embeddings": 320,
	"initializer_range": 0.2})

// servedRecipes are models of every way in which images reach the text.
func servedRecipes(t *testing.T) map[string]recipes.Model {
	resampler := &recipes.Resampler{Style: "flamingo", Queries: 3, Layers: 1, Heads: 2, HeadWidth: 4, MLP: 8}
	linear := recipes.Projector{Type: "linear"}
	gated := recipes.Projector{Type: recipes.GatedCrossAttention, Every: 1, Attend: "all", Gate: "float",
		QKNorm: "false", Resampler: resampler}
	all := map[string]recipes.Model{}
	for name, c := range map[string]struct {
		language  object
		projector recipes.Projector
	}{
		"mlp":    {servedLanguage, recipes.Projector{Type: "mlp2x_gelu"}},
		"window": {servedLanguage.with(object{"model_type": "mistral", "sliding_window": 70}), linear},
		"qwen3":  {servedLanguage.with(object{"model_type": "qwen3", "head_dim": 32}), linear},
		"small":  {tinyLanguage.with(object{"max_position_embeddings": 320}), linear}, // heads of no kernel of ours
		"gated":  {servedLanguage, gated},
		"biased": {servedLanguage.with(object{"model_type": "qwen2"}), linear},
	} {
		r := tinyRecipe(t, c.language, tinyVision)
		r.Projector = c.projector
		all[name] = r
	}
	return all
}

// ask runs jobs with one engine until all have ended, and returns their tokens and outcomes.
func ask(t testing.TB, e *Engine, jobs []Job) (answers [][]int32, outcomes []Outcome) {
	t.Helper()
	answers, outcomes = make([][]int32, len(jobs)), make([]Outcome, len(jobs))
	for i, j := range jobs {
		j.Emit = func(x Token) bool { answers[i] = append(answers[i], x.ID); return true }
		j.Done = func(o Outcome) { outcomes[i] = o }
		if _, err := e.Submit(j); err != nil {
			t.Fatal(err)
		}
	}
	for e.Step() {
	}
	return answers, outcomes
}

func newEngine(t testing.TB, m *LLaVA, o EngineOptions) *Engine {
	t.Helper()
	e, err := NewEngine(m, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// conversation is a prompt of so many tokens with an image at the given place, -1 for none.
func conversation(length, image int, seed uint64) Input {
	random := rand.New(rand.NewPCG(seed, 0))
	ids := make([]int64, length)
	for i := range ids {
		ids[i] = random.Int64N(11)
	}
	if image >= 0 {
		ids = slices.Insert(ids, image, -1)
	}
	return flat(ids)
}

// seen is a prompt for a model with layers of cross-attention: its images take no positions, and the text after them
// sees them.
func seen(m *LLaVA, in Input) Input {
	if _, gated := m.Projector.(*gatedProjector); !gated || len(in.Slots) == 0 {
		return in
	}
	in.Views = []View{{From: in.Slots[0], To: int64(len(in.IDs)), End: 1}}
	in.Slots, in.Rows = nil, nil
	return in
}

// An answer is the same alone and among others, whatever the pieces are in which prompts are computed, and whether what
// was computed for an earlier prompt is used.
func TestEngineAnswersDoNotDependOnTheWay(t *testing.T) {
	for name, r := range servedRecipes(t) {
		t.Run(name, func(t *testing.T) {
			m := openModel(t, r, OpenOptions{Seed: 3})
			if gated, ok := m.Projector.(*gatedProjector); ok {
				openGates(t, m, gated)
			}
			var jobs []Job
			for i, length := range []int{1, 90, 130, 90, 200, 64, 65} {
				in := seen(m, conversation(length, min(i, length)-1, uint64(length)))
				jobs = append(jobs, Job{Input: in, Sampling: Sampling{MaxTokens: 20}, Client: fmt.Sprint(i % 3)})
			}
			jobs[3].Temperature, jobs[3].Seed = 1.5, 9
			var want [][]int32
			for _, j := range jobs {
				e := newEngine(t, m, EngineOptions{Positions: 320, Separate: true, Piece: 1000})
				alone, _ := ask(t, e, []Job{j})
				want = append(want, alone[0])
			}
			for _, o := range []EngineOptions{
				{Positions: 4000}, {Positions: 4000, Piece: 1}, {Positions: 4000, Piece: 7},
				{Positions: 4000, Piece: 64}, {Positions: 4000, Running: 2}, {Positions: 320},
				{Positions: 4000, Separate: true}, {Positions: 4000, Features: 1 << 20},
			} {
				e := newEngine(t, m, o)
				for round := range 2 { // in the second, every prompt has been seen
					got, outcomes := ask(t, e, jobs)
					for i := range jobs {
						if !slices.Equal(got[i], want[i]) {
							t.Fatalf("%+v, round %d, job %d: answer %v, alone %v", o, round, i, got[i], want[i])
						}
						reusable := len(jobs[i].IDs) > grain && !o.Separate && o.Positions == 4000 && round == 1
						if reusable != (outcomes[i].Cached >= grain-1 && outcomes[i].Cached > 0) && round == 1 {
							t.Errorf("%+v, job %d of %d positions: %d cached", o, i, len(jobs[i].IDs),
								outcomes[i].Cached)
						}
					}
				}
				if e.donors.clear(); e.arena.left() != e.arena.rows {
					t.Errorf("%+v: %d of %d rows are free at the end", o, e.arena.left(), e.arena.rows)
				}
			}
		})
	}
}

// openGates lets images through layers of cross-attention, whose gates are 0 at first.
func openGates(t *testing.T, m *LLaVA, gated *gatedProjector) {
	t.Helper()
	do(t, func(s *torch.Scope) {
		for _, l := range gated.layers {
			l.alphaAttention.Tensor().FillNormal(1, 1)
			l.alphaMLP.Tensor().FillNormal(1, 2)
		}
	})
}

// Another image gives other probabilities, after the same text.
func TestEngineTellsImagesApart(t *testing.T) {
	for name, r := range servedRecipes(t) {
		m := openModel(t, r, OpenOptions{Seed: 3})
		if gated, ok := m.Projector.(*gatedProjector); ok {
			openGates(t, m, gated)
		}
		first, second := seen(m, conversation(150, 120, 1)), seen(m, conversation(150, 120, 1))
		for i := range second.Pixels {
			second.Pixels[i] = uint8(255 - i)
		}
		e := newEngine(t, m, EngineOptions{Positions: 4000})
		var got []float64
		for _, in := range []Input{first, second, first, second} {
			_, err := e.Submit(Job{Input: in, Continuation: []int32{5},
				Emit: func(x Token) bool { got = append(got, x.Logprob); return true }})
			if err != nil {
				t.Fatal(err)
			}
			for e.Step() {
			}
		}
		if math.Abs(got[0]-got[2]) > 1e-5 || math.Abs(got[1]-got[3]) > 1e-5 || math.Abs(got[0]-got[1]) < 1e-4 {
			t.Errorf("%s: log-probabilities %v", name, got)
		}
	}
}

// A job's log-probabilities are those of one pass over prompt and continuation.
func TestEngineScoresContinuations(t *testing.T) {
	for name, r := range servedRecipes(t) {
		m := openModel(t, r, OpenOptions{Seed: 3})
		if gated, ok := m.Projector.(*gatedProjector); ok {
			openGates(t, m, gated)
		}
		prompt := seen(m, conversation(100, 40, 7))
		continuation := []int32{3, 1, 4, 1, 5, 9, 2, 6}
		whole := prompt
		whole.IDs, whole.Positions = slices.Clone(prompt.IDs), nil
		for _, id := range continuation {
			whole.IDs = append(whole.IDs, int64(id))
		}
		for i := range whole.IDs {
			whole.Positions = append(whole.Positions, int64(i))
		}
		whole.Starts = []int64{0, int64(len(whole.IDs))}
		whole.Views = slices.Clone(prompt.Views)
		for i := range whole.Views {
			whole.Views[i].To = int64(len(whole.IDs))
		}
		var want []float64
		do(t, func(s *torch.Scope) {
			logits := torch.Read[float32](m.Logits(s, m.Forward(s, whole).Hidden))
			for i, id := range continuation {
				row := logits[(len(prompt.IDs)+i-1)*11:][:11]
				want = append(want, math.Log(probabilities(row, 1)[id]))
			}
		})
		for _, piece := range []int{1, 5, 1000} {
			e := newEngine(t, m, EngineOptions{Positions: 4000, Piece: piece})
			for range 2 {
				var got []float64
				_, err := e.Submit(Job{Input: prompt, Continuation: continuation,
					Emit: func(x Token) bool { got = append(got, x.Logprob); return true }})
				if err != nil {
					t.Fatal(err)
				}
				for e.Step() {
				}
				for i := range want {
					if len(got) != len(want) || math.Abs(got[i]-want[i]) > 1e-5 {
						t.Fatalf("%s, pieces of %d: log-probabilities %v, want %v", name, piece, got, want)
					}
				}
			}
		}
	}
}

// Whatever comes, waits, is cancelled or does not fit, every job ends once, nothing is kept of it, and those that end
// by themselves have the answer that they have alone.
func TestEngineUnderARandomSchedule(t *testing.T) {
	m := openModel(t, tinyRecipe(t, servedLanguage, tinyVision), OpenOptions{Seed: 3})
	kinds := make([]Job, 12)
	var want [][]int32
	for i := range kinds {
		in := conversation(1+i*11, i%4-1, uint64(i/2))
		kinds[i] = Job{Input: in, Sampling: Sampling{MaxTokens: 1 + i*2, Temperature: float64(i % 3), Seed: uint64(i)}}
		alone, _ := ask(t, newEngine(t, m, EngineOptions{Positions: 320, Separate: true}), kinds[i:i+1])
		want = append(want, alone[0])
	}
	live := torch.Live()
	t.Run("schedule", func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		e := newEngine(t, m, EngineOptions{Positions: 900, Queue: 20, Piece: 40, Features: 1 << 10})
		submitted, ended, refused, cancelled := 0, 0, 0, 0
		var open []*Ticket
		for submitted < 10_000 {
			for range random.IntN(6) {
				kind := random.IntN(len(kinds))
				j, got, stopAt := kinds[kind], []int32{}, -1
				j.Client = fmt.Sprint(random.IntN(4))
				if random.IntN(4) == 0 {
					stopAt = random.IntN(8)
				}
				done := false
				j.Emit = func(x Token) bool { got = append(got, x.ID); return len(got) != stopAt }
				j.Done = func(o Outcome) {
					if done {
						t.Error("a job ended twice")
					}
					done = true
					ended++
					whole := want[kind]
					if o.End == EndStop {
						whole = whole[:stopAt]
					}
					if o.End == EndCancelled {
						cancelled++
						whole = whole[:len(got)]
					}
					if o.Err != nil || !slices.Equal(got, whole) {
						t.Errorf("kind %d, %+v: answer %v, alone %v", kind, o, got, want[kind])
					}
				}
				ticket, err := e.Submit(j)
				if errors.Is(err, ErrBusy) {
					refused++
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				submitted++
				open = append(open, ticket)
			}
			if len(open) > 0 && random.IntN(3) == 0 {
				open[len(open)-1-random.IntN(min(len(open), 30))].Cancel()
			}
			e.Step()
		}
		for e.Step() {
		}
		if ended != submitted || refused == 0 || cancelled == 0 {
			t.Errorf("%d of %d jobs ended, %d cancelled, %d refused", ended, submitted, cancelled, refused)
		}
		if e.donors.clear(); e.arena.left() != e.arena.rows || len(e.donors.blocks) > 0 {
			t.Errorf("%d of %d rows are free at the end, %d blocks known", e.arena.left(), e.arena.rows,
				len(e.donors.blocks))
		}
	})
	if torch.Live() != live {
		t.Errorf("%d tensors are left", torch.Live()-live)
	}
}

func TestEngineRefuses(t *testing.T) {
	m := openModel(t, tinyRecipe(t, servedLanguage, tinyVision), OpenOptions{Seed: 3})
	e := newEngine(t, m, EngineOptions{Positions: 128})
	emit := func(Token) bool { return true }
	for want, j := range map[string]Job{
		"prompt is empty":            {Emit: emit},
		"prompt takes 321 positions": {Input: conversation(321, -1, 1), Emit: emit},
		"prompt and continuation take 322": {Input: conversation(300, -1, 1), Continuation: make([]int32, 22),
			Emit: emit},
		"up to 150 positions and there is room": {Input: conversation(100, -1, 1), Sampling: Sampling{MaxTokens: 50},
			Emit: emit},
	} {
		if _, err := e.Submit(j); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// A fault of the engine ends the jobs of its pass, and others are answered.
func TestEngineSurvivesAFault(t *testing.T) {
	m := openModel(t, tinyRecipe(t, servedLanguage, tinyVision), OpenOptions{Seed: 3})
	e := newEngine(t, m, EngineOptions{Positions: 640})
	good := Job{Input: conversation(80, 2, 1), Sampling: Sampling{MaxTokens: 4}}
	want, _ := ask(t, e, []Job{good})
	bad := good
	bad.Input = conversation(80, 3, 2)
	bad.IDs[70] = 11 // no token of the vocabulary
	_, outcomes := ask(t, e, []Job{bad})
	if outcomes[0].End != EndFailed || outcomes[0].Err == nil {
		t.Errorf("outcome %+v", outcomes[0])
	}
	if got, _ := ask(t, e, []Job{good}); !slices.Equal(got[0], want[0]) {
		t.Errorf("answer %v after the fault, %v before", got, want)
	}
}

func TestArena(t *testing.T) {
	torchtest.NoLeaks(t)
	rapid.Check(t, func(t *rapid.T) {
		rows := grain * rapid.Int64Range(1, 20).Draw(t, "rows")
		a := &arena{rows: rows, free: []extent{{0, rows}}}
		var taken []extent
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(taken) > 0 && rapid.Bool().Draw(t, "give") {
				i := rapid.IntRange(0, len(taken)-1).Draw(t, "which")
				a.give(taken[i])
				taken = slices.Delete(taken, i, i+1)
			} else if e, ok := a.take(rapid.Int64Range(1, rows).Draw(t, "positions")); ok {
				taken = append(taken, e)
			}
			left, at := rows, int64(-1)
			for _, e := range taken {
				left -= e.rows
				for _, other := range taken {
					if other != e && other.place < e.end() && e.place < other.end() {
						t.Fatalf("%v and %v overlap", e, other)
					}
				}
			}
			for _, f := range a.free {
				if f.place <= at || f.rows <= 0 {
					t.Fatalf("free extents %v", a.free)
				}
				at = f.end() // adjacent extents are one
			}
			if a.left() != left {
				t.Fatalf("%d rows are free, want %d", a.left(), left)
			}
		}
	})
}

// Clients take turns, those of one in order, and a job that does not fit is passed by others only so often.
func TestQueue(t *testing.T) {
	var q queue
	for _, client := range []string{"a", "a", "a", "b", "c", "b"} {
		q.push(&Ticket{job: Job{Client: client, Stream: uint64(q.len())}})
	}
	var order []string
	for q.len() > 0 {
		next := q.next(func(*Ticket) bool { return true })
		order = append(order, fmt.Sprint(next.job.Client, next.job.Stream))
	}
	if got := strings.Join(order, " "); got != "a0 b3 c4 a1 b5 a2" {
		t.Errorf("order %s", got)
	}
	large := &Ticket{job: Job{Client: "large"}}
	q.push(large)
	passed := 0
	for range 100 {
		q.push(&Ticket{job: Job{Client: "small"}})
		if q.next(func(t *Ticket) bool { return t != large }) != nil {
			passed++
		}
	}
	if passed != passes {
		t.Errorf("%d jobs passed one that does not fit", passed)
	}
}

// In bf16 log-probabilities are those of fp32 but for the rounding of weights, keys and values.
func TestEngineInBF16(t *testing.T) {
	prompt, continuation := conversation(100, 40, 7), []int32{3, 1, 4, 1, 5}
	var each [][]float64
	for _, dtype := range []torch.Dtype{torch.Float32, torch.BFloat16} {
		m := openModel(t, tinyRecipe(t, servedLanguage, tinyVision), OpenOptions{Seed: 3, Dtype: dtype})
		e := newEngine(t, m, EngineOptions{Positions: 640})
		var got []float64
		_, err := e.Submit(Job{Input: prompt, Continuation: continuation,
			Emit: func(x Token) bool { got = append(got, x.Logprob); return true }})
		if err != nil {
			t.Fatal(err)
		}
		for e.Step() {
		}
		each = append(each, got)
		if answers, _ := ask(t, e, []Job{{Input: prompt, Sampling: Sampling{MaxTokens: 9}}}); len(answers[0]) != 9 {
			t.Errorf("%v: answer %v", dtype, answers[0])
		}
	}
	for i := range continuation {
		if math.Abs(each[0][i]-each[1][i]) > 0.1 {
			t.Errorf("log-probabilities %v in fp32, %v in bf16", each[0], each[1])
			break
		}
	}
}
