package browsertest

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/guard"
	"github.com/llavatrain/llavatrain/serve/openai"
	"github.com/llavatrain/llavatrain/serve/pictures"
	"github.com/llavatrain/llavatrain/serve/servetest"
	"github.com/llavatrain/llavatrain/serve/web"
)

// site is a server of the page as users have it, before toy engines.
type site struct {
	url     string
	logs    string // folder of the log
	engines []*toy // toy-a, toy-b

	mu     sync.Mutex
	models []string
	asked  []ask
	server *guard.Server
}

// ask is a request and the model that got it.
type ask struct {
	model string
	serve.Request
}

// toy is a toy engine that notes who is asked in which order, and knows one more rule.
type toy struct {
	*servetest.Engine
	site *site
}

const megabyte = "megabyte " // answers with a line of a megabyte that repeats the rest of the question

func (e *toy) Submit(r serve.Request) (*serve.Reply, error) {
	e.site.mu.Lock()
	e.site.asked = append(e.site.asked, ask{e.Served.Name, r})
	e.site.mu.Unlock()
	last := &r.Messages[len(r.Messages)-1]
	if unit, ok := strings.CutPrefix(last.Text, megabyte); ok {
		r.Messages = slices.Clone(r.Messages)
		r.Messages[len(r.Messages)-1].Text = strings.Repeat(unit, (1<<20)/len(unit))
	}
	return e.Engine.Submit(r)
}

// newSite starts a server. Change fields of its engines before the first question.
func newSite(t *testing.T) *site { return newSiteWith(t, guard.Settings{}) }

func newSiteWith(t *testing.T, settings guard.Settings) *site {
	t.Helper()
	theBrowser(t)
	s := &site{logs: t.TempDir(), models: []string{"toy-a", "toy-b"}}
	for _, name := range []string{"toy-a", "toy-b", "toy-c", "blind"} {
		e := &toy{servetest.New(name), s}
		e.Served.Images = name != "blind"
		e.Served.MaxPositions, e.Served.MaxTokens = 2<<20, 2<<20
		s.engines = append(s.engines, e)
	}
	log, err := web.OpenLog(s.logs, false, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	page := web.New(web.Settings{Source: s.list, Mode: web.Reload, Log: log})
	s.serve(t, settings, page)
	return s
}

// serve puts a page and its API behind a guard.
func (s *site) serve(t *testing.T, settings guard.Settings, page *web.Site) {
	t.Helper()
	mux := http.NewServeMux()
	(&openai.API{Models: page, Pictures: pictures.NewDecoder(), Metrics: openai.NewMetrics()}).Register(mux)
	settings.Public = web.IsFile
	var err error
	s.server, err = guard.New(settings, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if page.Handles(r) {
			page.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	if err != nil {
		t.Fatal(err)
	}
	s.url = s.server.URL()
	ended := make(chan error, 1)
	go func() { ended <- s.server.Serve(context.Background()) }()
	t.Cleanup(func() {
		s.server.Close()
		<-ended
		for _, e := range s.engines {
			if err := e.WaitIdle(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
}

// list is a source of models.
func (s *site) list(context.Context) (list []web.Model, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.engines {
		if slices.Contains(s.models, e.Served.Name) {
			list = append(list, web.Model{Engine: e, Known: true})
		}
	}
	return list, nil
}

func (s *site) setModels(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.models = names
}

// requests are all questions in the order in which they came.
func (s *site) requests() []ask {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *site) last(t *testing.T) ask {
	t.Helper()
	all := s.requests()
	if len(all) == 0 {
		t.Fatal("nothing was asked")
	}
	return all[len(all)-1]
}

// texts are the messages of a request.
func (a ask) texts() string {
	var texts []string
	for _, m := range a.Messages {
		texts = append(texts, m.Text)
	}
	return strings.Join(texts, "|")
}

// vote is a line of the log about an answer.
type vote struct {
	Type, Model string
	State       struct{ Messages [][]any }
}

// votes are read back from the log.
func (s *site) votes(t *testing.T) (votes []vote) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(s.logs, "*-conv.json"))
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			var v vote
			if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
				t.Fatalf("%v: %s", err, lines.Bytes())
			}
			if v.Type != "chat" {
				votes = append(votes, v)
			}
		}
	}
	return votes
}

// cancelled is how many answers were stopped, once nothing is being answered.
func (s *site) cancelled(t *testing.T) (n int) {
	t.Helper()
	for _, e := range s.engines {
		if err := e.WaitIdle(t.Context()); err != nil {
			t.Fatal(err)
		}
		n += e.Cancelled()
	}
	return n
}
