package serving

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/serve/llava"
	"github.com/llavatrain/llavatrain/train/answer"
)

// modelFlags are the flags of everything that answers with a model of its own.
type modelFlags struct {
	named   answer.Named
	name    string
	memory  string
	options answer.ServiceOptions
	timeout time.Duration
}

func (m *modelFlags) add(f *pflag.FlagSet) {
	program.NameFolders(f, &m.named)
	program.NameDtype(f, &m.named)
	f.StringVar(&m.name, "model-name", "", "`NAME` that clients ask for; default: the recipe's, or the folder's")
	f.IntVar(&m.options.Running, "limit-model-concurrency", 0,
		"most answers in progress, `N`; default: as many as memory holds")
	f.IntVar(&m.options.Queue, "max-queue", 256, "most requests that wait, `N`; more are told to come later")
	f.StringVar(&m.memory, "kv-memory", "",
		"memory for keys and values, a `SIZE` such as 4GB; default: on a CPU for 32 answers, at most a quarter of the "+
			"machine's; of a GPU what is left")
	f.BoolVar(&m.options.Separate, "no-prefix-sharing", false,
		"compute every prompt anew: how fast an answer comes then tells nobody what others have asked")
	f.DurationVar(&m.timeout, "request-timeout", 10*time.Minute, "longest `TIME` of a request, with waiting")
}

// open opens the model and starts its engine. Close the engine's service after use.
func (m *modelFlags) open(out io.Writer) (*engine, error) {
	if m.memory != "" {
		bytes, err := program.ParseSize(m.memory)
		if err != nil {
			return nil, failure.Inputf("--kv-memory: %w", err)
		}
		m.options.Memory = bytes
	}
	if m.options.Queue < 1 || m.options.Running < 0 || m.timeout <= 0 {
		return nil, failure.Inputf("--max-queue must be at least 1, --limit-model-concurrency at least 0, and " +
			"--request-timeout more than 0")
	}
	terminal := program.NewTerminal(out)
	defer terminal.Close()
	a, err := answer.OpenAnswerer(m.named, terminal)
	if err != nil {
		return nil, err
	}
	service, err := a.Serve(m.options)
	if err != nil {
		a.Close()
		return nil, err
	}
	e := newEngine(service, cmp.Or(m.name, modelName(m.named.Path)), created(m.named.Path))
	e.timeout = m.timeout
	return e, nil
}

// describe says what is served and how much of it at once.
func (e *engine) describe(out io.Writer) {
	typical := min(answer.Typical, int64(e.model.MaxPositions))
	fmt.Fprintf(out, "model %s, template %s, %s on %s: room for %d answers of %d positions at a time\n", e.model.Name,
		e.model.Template, e.service.LLaVA.Params.Dtype(), e.service.LLaVA.Params.Device(),
		e.service.Positions/typical, typical)
	if guess, _ := llava.TemplateByName(e.model.Name); guess != e.model.Template {
		fmt.Fprintf(out, "note: the original's web page would take template %s for a model of this name; --model-name "+
			"changes it\n", guess)
	}
}

// modelName is what a path's model is called: a run has its recipe's name.
func modelName(path string) string {
	above := filepath.Dir(filepath.Clean(path))
	for _, dir := range []string{path, filepath.Join(path, recipes.StageNames[1]),
		filepath.Join(path, recipes.StageNames[0]), above, filepath.Dir(above)} {
		if r, err := recipes.Load(filepath.Join(dir, runs.RecipeFile), nil); err == nil {
			return r.Name
		}
	}
	return llava.ModelName(path)
}

// created is when a model's folder was last changed.
func created(path string) time.Time {
	if info, err := os.Stat(path); err == nil {
		return info.ModTime()
	}
	return time.Now()
}
