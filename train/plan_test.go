package train

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/torch"
	"github.com/llavatrain/llavatrain/ranks"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
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

func TestThreadsFollowTheEnvironment(t *testing.T) {
	all := runtime.GOMAXPROCS(0)
	for value, want := range map[string]int{"": all, "3": 3, "0": all, "-1": all, "many": all} {
		t.Setenv("OMP_NUM_THREADS", value)
		if got := DefaultThreads(); got != want {
			t.Errorf("OMP_NUM_THREADS=%q: %d threads, want %d", value, got, want)
		}
	}
}

// A micro-batch is the recipe's, the saved one or the default, and at most the global batch; a token budget replaces
// it. Only the default may become smaller to fit the memory.
func TestPlanMicroBatch(t *testing.T) {
	for _, c := range []struct {
		name          string
		batch         recipes.Batch
		saved         map[string]string
		micro, tokens int
		auto          bool
	}{
		{"default", recipes.Batch{Global: 64, Micro: recipes.Auto}, nil, 8, 0, true},
		{"default of a small step", recipes.Batch{Global: 4, Micro: recipes.Auto}, nil, 4, 0, true},
		{"the recipe's", recipes.Batch{Global: 64, Micro: 2}, map[string]string{"micro": "16"}, 2, 0, false},
		{"the recipe's, new", recipes.Batch{Global: 64, Micro: 2}, nil, 2, 0, false},
		{"the run's", recipes.Batch{Global: 64, Micro: recipes.Auto}, map[string]string{"micro": "16"}, 16, 0, false},
		{"tokens", recipes.Batch{Global: 64, Tokens: 4096}, map[string]string{"micro": "0"}, 0, 4096, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &recipes.Recipe{Device: "cpu", Dtype: "auto", Threads: 3}
			stage := &recipes.Stage{Batch: c.batch, Schedule: recipes.Schedule{Type: "cosine"}, Loss: "token_mean"}
			p, err := newPlan(r, stage, 10, checkpoints.State{Engine: c.saved}, noPeers().Place)
			if err != nil {
				t.Fatal(err)
			}
			if p.micro != c.micro || p.tokens != c.tokens || p.threads != 3 || p.autoMicro != c.auto ||
				p.dtype != torch.Float32 || p.device != torch.CPU {
				t.Errorf("plan has micro %d (auto %t), tokens %d, threads %d, %s on %s",
					p.micro, p.autoMicro, p.tokens, p.threads, p.dtype, p.device)
			}
		})
	}
}

// Several processes divide a step, the cores and the memory of their host. What a run of another number of processes
// chose is chosen anew, but for the micro-batches of a mean over micro-batches.
func TestPlanOfSeveralProcesses(t *testing.T) {
	t.Setenv("OMP_NUM_THREADS", "")
	cores := runtime.GOMAXPROCS(0)
	saved := checkpoints.State{Engine: map[string]string{"micro": "5", "threads": "7"}, Processes: 4}
	for _, c := range []struct {
		name           string
		batch          recipes.Batch
		loss           string
		world          int
		micro, threads int
		warns, refused string
	}{
		{"the same number", recipes.Batch{Global: 64, Micro: recipes.Auto}, "token_mean", 4, 5, 7, "", ""},
		{"more", recipes.Batch{Global: 64, Micro: recipes.Auto}, "token_mean", 16, 4, max(1, cores/16), "", ""},
		{"alone", recipes.Batch{Global: 64, Micro: recipes.Auto}, "token_mean", 1, 8, cores, "", ""},
		{"mean of means", recipes.Batch{Global: 64, Micro: recipes.Auto}, "micro_mean", 2, 5, max(1, cores/2), "", ""},
		{"idle", recipes.Batch{Global: 128, Micro: 8}, "token_mean", 64, 8, max(1, cores/64),
			"keeps 16 of 64 processes busy: set batch.micro to 2, or batch.global to 512", ""},
		{"too many", recipes.Batch{Global: 4, Micro: 2}, "token_mean", 5, 0, 0, "",
			"batch.global is 4 samples, fewer than the 5 processes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stage := &recipes.Stage{Batch: c.batch, Schedule: recipes.Schedule{Type: "cosine"}, Loss: c.loss}
			place := ranks.Place{World: c.world, Locals: c.world}
			p, err := newPlan(&recipes.Recipe{Device: "cpu", Dtype: "auto"}, stage, 10, saved, place)
			if c.refused != "" {
				if !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if warning := p.idleWarning(); p.micro != c.micro || p.threads != c.threads ||
				!strings.Contains(warning, c.warns) || (warning == "") != (c.warns == "") {
				t.Errorf("micro %d, %d threads, warning %q", p.micro, p.threads, warning)
			}
		})
	}
}

// The moments are the recipe's or, if that is auto, those that the run began with.
func TestPlanMoments(t *testing.T) {
	for _, c := range []struct{ setting, saved, want string }{
		{"auto", "", "auto"}, {"auto", "fp32", "fp32"}, {"bf16", "fp32", "bf16"}, {"fp32", "", "fp32"},
	} {
		stage := &recipes.Stage{Schedule: recipes.Schedule{Type: "cosine"}, Loss: "token_mean"}
		stage.Optimizer.Moments = c.setting
		p, err := newPlan(
			&recipes.Recipe{Device: "cpu", Dtype: "auto"},
			stage,
			10,
			checkpoints.State{Engine: map[string]string{"moments": c.saved}},
			noPeers().Place,
		)
		if err != nil || p.momentsSetting != c.want {
			t.Errorf("%s, saved %q: %v, error %v", c.setting, c.saved, p.momentsSetting, err)
		}
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
