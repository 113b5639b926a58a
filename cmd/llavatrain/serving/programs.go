package serving

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/controller"
	"github.com/llavatrain/llavatrain/serve/guard"
	"github.com/llavatrain/llavatrain/serve/llava"
	"github.com/llavatrain/llavatrain/serve/openai"
	"github.com/llavatrain/llavatrain/serve/pictures"
	"github.com/llavatrain/llavatrain/serve/web"
)

// newController returns the command serve controller: python -m llava.serve.controller.
func newController(p *program.Program) *cobra.Command {
	var server serverFlags
	var dispatch string
	c := &cobra.Command{
		Use:   "controller",
		Short: "Keep the list of model workers, and choose one for a request",
		Long: "Keep the list of model workers, and choose one for a request: LLaVA's controller, to its protocol. " +
			"Workers and web pages may be ours or the original's.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			way, err := controller.ParseDispatch(dispatch)
			if err != nil {
				return failure.Input(err)
			}
			h := &late{}
			return run(p, c.Context(), &server, h, func(ctx context.Context, s *guard.Server) (drainer, error) {
				control := controller.New(controller.Settings{Dispatch: way, Token: server.Token, Log: p.Err,
					HTTP: server.client()})
				go control.Run(ctx)
				h.set(route(nil, newAPI(s, nothing{}, openai.NewMetrics(), nil), control.Routes()))
				fmt.Fprintf(p.Err, "controller: %s\n", s.URL())
				return nil, nil
			})
		},
	}
	server.add(c.Flags(), 21001, "controller")
	c.Flags().StringVar(&dispatch, "dispatch-method", string(controller.ShortestQueue), "shortest_queue or lottery")
	return c
}

// newWorker returns the command serve worker: python -m llava.serve.model_worker.
func newWorker(p *program.Program) *cobra.Command {
	var server serverFlags
	var m modelFlags
	var own, control string
	var alone bool
	var without ignored
	c := &cobra.Command{
		Use:   "worker --model-path MODEL",
		Short: "Answer with one model, for a controller",
		Long: "Answer with one model: LLaVA's model worker, to its protocol, and OpenAI's API under /v1. It " +
			"registers with a controller, ours or the original's, and answers whether that does or not.",
		Args: cobra.NoArgs,
	}
	f := c.Flags()
	server.add(f, 21002, "worker")
	m.add(f)
	f.StringVar(&m.named.Path, "model-path", "", "MODEL, as generate takes it")
	f.StringVar(&own, "worker-address", "", "`URL` of this worker for its clients; default: the one that it listens on")
	f.StringVar(&control, "controller-address", "http://localhost:21001", "`URL` of the controller")
	f.BoolVar(&alone, "no-register", false, "do not register with a controller")
	c.MarkFlagRequired("model-path")
	without.bools(f, "multi-modal", "use-flash-attn")
	without.values(f, "stream-interval", "device")
	refuse := refused(f, map[string]string{
		"load-8bit": "weights of 8 bits cannot be served yet", "load-4bit": "weights of 4 bits cannot be served yet"})
	aliases(f, map[string]string{"worker": "worker-address", "controller": "controller-address", "model-base": "base"})
	c.RunE = func(c *cobra.Command, _ []string) error {
		without.tell(c.Flags(), p.Err)
		if err := refuse(); err != nil {
			return err
		}
		for _, address := range []string{own, control} {
			if address == "" {
				continue
			}
			if err := llava.CheckAddress(address); err != nil {
				return failure.Inputf("%q %w", address, err)
			}
		}
		h := &late{}
		return run(p, c.Context(), &server, h, func(ctx context.Context, s *guard.Server) (drainer, error) {
			e, err := m.open(p.Err)
			if err != nil {
				return nil, err
			}
			metrics, decoder := openai.NewMetrics(), pictures.NewDecoder()
			watched := metrics.Watch(e)
			worker := &llava.Worker{Engine: watched, Pictures: decoder}
			if !alone {
				address := own
				if address == "" {
					address = s.URL()
				}
				peer := llava.Peer{Address: strings.TrimSuffix(control, "/"), HTTP: server.client()}
				member := controller.NewMember(peer, address,
					func() llava.Status { return llava.StatusOf(watched) }, p.Err)
				worker.Changed = member.Changed
				go member.Run(ctx)
			}
			changed := func() {
				if worker.Changed != nil {
					worker.Changed()
				}
			}
			answers := route(nil, newAPI(s, one{watched}, metrics, decoder), worker.Routes())
			h.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/v1/chat/") { // by LLaVA's protocol the worker says so itself
					changed()
					defer changed()
				}
				answers.ServeHTTP(w, r)
			}))
			e.describe(p.Err)
			fmt.Fprintf(p.Err, "worker: %s\n", s.URL())
			return e, nil
		})
	}
	return c
}

// newWeb returns the command serve web: python -m llava.serve.gradio_web_server.
func newWeb(p *program.Program) *cobra.Command {
	var server serverFlags
	var site siteFlags
	var control, mode string
	var without ignored
	c := &cobra.Command{
		Use:   "web",
		Short: "Show the page, and answer OpenAI's API, with the workers of a controller",
		Long: "Show the page, and answer OpenAI's API under /v1, with the workers of a controller, ours or the " +
			"original's.",
		Args: cobra.NoArgs,
	}
	f := c.Flags()
	server.add(f, 7860, "page")
	site.add(f)
	f.StringVar(&control, "controller-url", "http://localhost:21001", "`URL` of the controller")
	f.StringVar(&mode, "model-list-mode", string(web.Once),
		"once: models are listed at the start; reload: at each load of the page")
	without.bools(f, "moderate")
	without.values(f, "concurrency-count")
	refuse := refused(f, map[string]string{
		"share": "a public tunnel is not offered: use a reverse proxy, see docs/serve.md"})
	aliases(f, map[string]string{"controller": "controller-url", "controller-address": "controller-url"})
	c.RunE = func(c *cobra.Command, _ []string) error {
		without.tell(c.Flags(), p.Err)
		listing, err := web.ParseListMode(mode)
		if err == nil {
			err = refuse()
		}
		if err != nil {
			return failure.Input(err)
		}
		if err := llava.CheckAddress(strings.TrimSuffix(control, "/")); err != nil {
			return failure.Inputf("--controller-url %q %w", control, err)
		}
		log, err := site.log(p.Err)
		if err != nil {
			return err
		}
		h := &late{}
		return run(p, c.Context(), &server, h, func(ctx context.Context, s *guard.Server) (drainer, error) {
			peer := llava.Peer{Address: strings.TrimSuffix(control, "/"), HTTP: server.client()}
			fleet := llava.NewFleet(peer, written)
			page := web.New(web.Settings{Source: web.Workers(fleet), Mode: listing, Log: log, Embed: site.embed})
			if err := page.Load(ctx); err != nil {
				fmt.Fprintf(p.Err, "the controller %s %v; it is asked again when the page is loaded\n", control, err)
			}
			h.set(route(page, newAPI(s, page, openai.NewMetrics(), pictures.NewDecoder())))
			fmt.Fprintf(p.Err, "page: %s/\nOpenAI's API: %s/v1\n", s.URL(), s.URL())
			return nil, nil
		})
	}
	return c
}

// written writes a conversation out for a worker that takes no conversations.
func written(template string, messages []serve.Message) (prompt, stop string, err error) {
	t, err := data.OpenTemplate(template)
	if err != nil {
		return "", "", err
	}
	system, list, err := turns(messages)
	if err != nil {
		return "", "", err
	}
	return t.Written(system, list)
}

// one is a single model as openai.Models.
type one struct{ serve.Engine }

// List implements openai.Models.
func (o one) List() []serve.Model { return []serve.Model{o.Model()} }

// Find implements openai.Models.
func (o one) Find(name string) (serve.Engine, bool) { return o.Engine, name == o.Model().Name }

// nothing is no models.
type nothing struct{}

// List implements openai.Models.
func (nothing) List() []serve.Model { return nil }

// Find implements openai.Models.
func (nothing) Find(string) (serve.Engine, bool) { return nil, false }
