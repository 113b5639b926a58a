package serving

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/serve/controller"
	"github.com/llavatrain/llavatrain/serve/guard"
	"github.com/llavatrain/llavatrain/serve/llava"
	"github.com/llavatrain/llavatrain/serve/openai"
	"github.com/llavatrain/llavatrain/serve/pictures"
	"github.com/llavatrain/llavatrain/serve/web"
)

// NewServe returns the command serve.
func NewServe(p *program.Program) *cobra.Command {
	var server serverFlags
	var m modelFlags
	var site siteFlags
	c := &cobra.Command{
		Use:   "serve MODEL",
		Short: "Answer questions about images over HTTP: a web page, OpenAI's API, LLaVA's protocol",
		Long: "Serve a model: a page for a browser, OpenAI's chat completions under /v1, and the paths of LLaVA's " +
			"controller and worker. MODEL is what generate takes. Other machines can reach the server only with " +
			"--host, and then need a token.\n\nLLaVA's three programs, which may stand on several machines and can " +
			"be mixed with the original's, are the commands controller, worker and web.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			m.named.Path = args[0]
			return serveAll(p, c.Context(), &server, &m, &site)
		},
	}
	f := c.Flags()
	server.add(f, 7860, "server")
	m.add(f)
	site.add(f)
	c.AddCommand(newController(p), newWorker(p), newWeb(p))
	return c
}

// serveAll runs page, OpenAI's API, controller and worker in one process.
func serveAll(p *program.Program, parent context.Context, server *serverFlags, m *modelFlags, site *siteFlags) error {
	log, err := site.log(p.Err)
	if err != nil {
		return err
	}
	h := &late{}
	return run(p, parent, server, h, func(ctx context.Context, s *guard.Server) (drainer, error) {
		e, err := m.open(p.Err)
		if err != nil {
			return nil, err
		}
		metrics, decoder := openai.NewMetrics(), pictures.NewDecoder()
		watched := metrics.Watch(e)
		worker := &llava.Worker{Engine: watched, Pictures: decoder}
		control := controller.New(controller.Settings{HTTP: server.client(), Token: server.Token, Log: p.Err})
		control.AddLocal(s.URL(), func() llava.Status { return llava.StatusOf(watched) })
		go control.Run(ctx)
		page := web.New(web.Settings{Source: web.Here(watched), Mode: web.Once, Log: log, Embed: site.embed})
		if err := page.Load(ctx); err != nil {
			return e, err
		}
		// a worker's paths first: the controller would only send such a request back here
		h.set(route(page, newAPI(s, page, metrics, decoder), worker.Routes(), control.Routes()))
		e.describe(p.Err)
		fmt.Fprintf(p.Err, "page: %s/\nOpenAI's API: %s/v1\n", s.URL(), s.URL())
		return e, nil
	})
}

// siteFlags are the flags of everything that has the page.
type siteFlags struct {
	logDir string
	logIP  bool
	embed  bool
}

func (s *siteFlags) add(f flagSet) {
	f.StringVar(&s.logDir, "log-dir", "",
		"`FOLDER` for conversations, pictures and votes, in the original's form; default: none are kept")
	f.BoolVar(&s.logIP, "log-ip", false, "keep the clients' addresses in --log-dir too")
	f.BoolVar(&s.embed, "embed", false, "the page stands in another: no title and no terms")
}

// flagSet is what siteFlags need of a set of flags.
type flagSet interface {
	StringVar(p *string, name, value, usage string)
	BoolVar(p *bool, name string, value bool, usage string)
}

func (s *siteFlags) log(faults io.Writer) (*web.Log, error) {
	if s.logDir == "" {
		return nil, nil
	}
	return web.OpenLog(s.logDir, s.logIP, faults)
}

// newAPI is OpenAI's API of a server.
func newAPI(s *guard.Server, models openai.Models, metrics *openai.Metrics, decoder *pictures.Decoder) *openai.API {
	return &openai.API{Models: models, Pictures: decoder, Metrics: metrics, Version: program.Version, Busy: busy(s),
		More: refusals(s)}
}

// route answers with the page, if there is one; with the first of LLaVA's routes that have the path; or with OpenAI's
// API.
func route(page *web.Site, api *openai.API, original ...llava.Routes) http.Handler {
	mux := http.NewServeMux()
	api.Register(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if page != nil && page.Handles(r) {
			page.ServeHTTP(w, r)
			return
		}
		for _, routes := range original {
			if routes[r.URL.Path] != nil {
				routes.ServeHTTP(w, r)
				return
			}
		}
		mux.ServeHTTP(w, r)
	})
}

// busy says why a server answers no requests.
func busy(s *guard.Server) func() string {
	return func() string {
		if s.Draining() {
			return "draining"
		}
		return ""
	}
}

// refusals writes how many requests were answered with a status of 400 or more, in Prometheus' form.
func refusals(s *guard.Server) func(io.Writer) {
	return func(out io.Writer) {
		const name = "llavatrain_http_refused_total"
		fmt.Fprintf(out, "# HELP %s Requests that were answered with a status of 400 or more.\n", name)
		fmt.Fprintf(out, "# TYPE %s counter\n", name)
		counts := s.Refused()
		for _, status := range slices.Sorted(maps.Keys(counts)) {
			fmt.Fprintf(out, "%s{status=\"%d\"} %d\n", name, status, counts[status])
		}
	}
}
