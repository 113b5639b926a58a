package train

import (
	"runtime"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/recipes"
)

// The recipe decides; if it leaves something open, what the run began with; otherwise the default.
func TestResolve(t *testing.T) {
	for _, c := range []struct {
		value, auto int
		saved       string
		want        int
	}{
		{4, -1, "", 4}, {4, -1, "2", 4}, {-1, -1, "2", 2}, {-1, -1, "", 8},
		{0, 0, "3", 3}, {0, 0, "three", 8}, {0, -1, "3", 0},
	} {
		if got := resolve(c.value, c.auto, c.saved, 8); got != c.want {
			t.Errorf("resolve(%d, %d, %q, 8) = %d, want %d", c.value, c.auto, c.saved, got, c.want)
		}
	}
}

// A micro-batch is the recipe's, the saved one or the default, and at most the global batch; a token budget replaces
// it.
func TestThreadsFollowTheEnvironment(t *testing.T) {
	all := runtime.GOMAXPROCS(0)
	for value, want := range map[string]int{"": all, "3": 3, "0": all, "-1": all, "many": all} {
		t.Setenv("OMP_NUM_THREADS", value)
		if got := DefaultThreads(); got != want {
			t.Errorf("OMP_NUM_THREADS=%q: %d threads, want %d", value, got, want)
		}
	}
}

func TestPlanMicroBatch(t *testing.T) {
	for _, c := range []struct {
		name          string
		batch         recipes.Batch
		saved         map[string]string
		micro, tokens int
	}{
		{"default", recipes.Batch{Global: 64, Micro: recipes.Auto}, nil, 8, 0},
		{"default of a small step", recipes.Batch{Global: 4, Micro: recipes.Auto}, nil, 4, 0},
		{"the recipe's", recipes.Batch{Global: 64, Micro: 2}, map[string]string{"micro": "16"}, 2, 0},
		{"the run's", recipes.Batch{Global: 64, Micro: recipes.Auto}, map[string]string{"micro": "16"}, 16, 0},
		{"tokens", recipes.Batch{Global: 64, Tokens: 4096}, map[string]string{"micro": "0"}, 0, 4096},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &recipes.Recipe{Device: "cpu", Dtype: "auto", Threads: 3}
			stage := &recipes.Stage{Batch: c.batch, Schedule: recipes.Schedule{Type: "cosine"}, Loss: "token_mean"}
			p, err := newPlan(r, stage, 10, c.saved)
			if err != nil {
				t.Fatal(err)
			}
			if p.micro != c.micro || p.tokens != c.tokens || p.threads != 3 ||
				p.dtype != torch.Float32 || p.device != torch.CPU {
				t.Errorf("plan has micro %d, tokens %d, threads %d, %s on %s",
					p.micro, p.tokens, p.threads, p.dtype, p.device)
			}
		})
	}
}

func TestTrains(t *testing.T) {
	selects, err := Trains(map[string]recipes.Part{
		"projector": {},
		"language":  {Only: `layers\.[23]\.|lm_head`, Except: `norm`},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		part, name string
		want       bool
	}{
		{"projector", "model.mm_projector.0.weight", true},
		// A part that is not named is frozen.
		{"vision", "model.vision_tower.vision_tower.vision_model.post_layernorm.bias", false},
		{"language", "model.layers.2.mlp.up_proj.weight", true},
		{"language", "model.layers.1.mlp.up_proj.weight", false},
		{"language", "model.layers.3.input_layernorm.weight", false}, // except wins over only
		{"language", "lm_head.weight", true},
		{"language", "model.embed_tokens.weight", false},
	} {
		if got := selects(c.part, c.name); got != c.want {
			t.Errorf("%s of part %s trains: %t, want %t", c.name, c.part, got, c.want)
		}
	}
	for key, part := range map[string]recipes.Part{
		"train.language.only": {Only: "("}, "train.language.except": {Except: "("},
	} {
		_, err := Trains(map[string]recipes.Part{"language": part})
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("error %v does not name %s", err, key)
		}
	}
}
