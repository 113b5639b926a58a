package openai

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/guard"
	"github.com/llavatrain/llavatrain/serve/pictures"
)

// Models are the models that can be asked.
type Models interface {
	List() []serve.Model
	// Find is the engine of the model that has the name.
	Find(name string) (serve.Engine, bool)
}

// API answers requests under /v1, and /health, /metrics and /version.
type API struct {
	Models   Models
	Pictures *pictures.Decoder
	Metrics  *Metrics        // of engines that it watches
	Version  string          // of the program
	Busy     func() string   // why no request is answered: "loading" or "draining"; "" or nil: they are
	More     func(io.Writer) // writes other metrics in Prometheus' form; may be nil
}

// Register adds the API's paths to a server's.
func (a *API) Register(mux *http.ServeMux) {
	for pattern, route := range map[string]struct {
		method string
		handle http.HandlerFunc
	}{
		"/v1/models":           {http.MethodGet, a.listModels},
		"/v1/models/{name...}": {http.MethodGet, a.oneModel},
		"/v1/chat/completions": {http.MethodPost, a.chat},
		"/health":              {http.MethodGet, a.health},
		"/metrics":             {http.MethodGet, a.metrics},
		"/version":             {http.MethodGet, a.version},
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != route.method && (r.Method != http.MethodHead || route.method != http.MethodGet) {
				w.Header().Set("Allow", route.method)
				writeFault(w, &fault{Status: http.StatusMethodNotAllowed, Kind: invalidRequest,
					Text: "This path is asked with " + route.method + "."})
				return
			}
			route.handle(w, r)
		})
	}
	unknown := func(w http.ResponseWriter, _ *http.Request) {
		writeFault(w, &fault{Status: http.StatusNotFound, Kind: invalidRequest, Code: "unknown_url",
			Text: "There is no such path. This server has /v1/models and /v1/chat/completions."})
	}
	mux.HandleFunc("/v1", unknown)
	mux.HandleFunc("/v1/", unknown)
}

func (a *API) busy() string {
	if a.Busy == nil {
		return ""
	}
	return a.Busy()
}

func (a *API) health(w http.ResponseWriter, _ *http.Request) {
	if why := a.busy(); why != "" {
		guard.SetRetryAfter(w.Header(), closingWait)
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": why})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (a *API) version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"version": a.Version})
}

// modelCard is a model in OpenAI's list. MaxModelLen is vLLM's; LLaVA's own workers do not tell it.
type modelCard struct {
	ID          string `json:"id"`
	Object      string `json:"object"`
	Created     int64  `json:"created"`
	OwnedBy     string `json:"owned_by"`
	MaxModelLen int    `json:"max_model_len,omitempty"`
}

func card(m serve.Model) modelCard {
	return modelCard{m.Name, "model", max(0, m.Created.Unix()), "llavatrain", m.MaxPositions}
}

func (a *API) listModels(w http.ResponseWriter, _ *http.Request) {
	list := struct {
		Object string      `json:"object"`
		Data   []modelCard `json:"data"`
	}{"list", []modelCard{}}
	for _, m := range a.Models.List() {
		list.Data = append(list.Data, card(m))
	}
	writeJSON(w, http.StatusOK, list)
}

func (a *API) oneModel(w http.ResponseWriter, r *http.Request) {
	engine, ok := a.Models.Find(r.PathValue("name"))
	if !ok {
		writeFault(w, a.noModel(r.PathValue("name")))
		return
	}
	writeJSON(w, http.StatusOK, card(engine.Model()))
}

// noModel says which models there are.
func (a *API) noModel(name string) *fault {
	var names []string
	for _, m := range a.Models.List() {
		names = append(names, m.Name)
	}
	text := "The model " + quote(name) + " is not served. "
	if text += "Served are: " + strings.Join(names, ", ") + "."; len(names) == 0 {
		text = "No model is served now. Try again later."
	}
	return &fault{Status: http.StatusNotFound, Kind: invalidRequest, Code: "model_not_found", Param: "model",
		Text: text}
}

// chat answers POST /v1/chat/completions.
func (a *API) chat(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	if why := a.busy(); why != "" {
		writeError(w, &serve.Refusal{Reason: serve.Closing, Text: "The server is " + why + ". Try again later."})
		return
	}
	asked, reply, err := a.submit(r)
	if err != nil {
		if r.Context().Err() == nil {
			a.Metrics.refuse(err)
			writeError(w, err)
		}
		return
	}
	defer reply.Close()
	guard.Note(r.Context(), "seed", reply.Seed)
	answer := newAnswer(asked, r, began)
	if asked.Stream {
		answer.stream(w, r, reply)
	} else {
		answer.whole(w, r, reply)
	}
	answer.note(r.Context())
}

// submit reads a request and gives it to its engine. What was read is let go when it returns.
func (a *API) submit(r *http.Request) (*chatRequest, *serve.Reply, error) {
	defer r.Body.Close()
	asked, err := readChat(r)
	if err != nil {
		return nil, nil, err
	}
	guard.Note(r.Context(), "model", asked.Model)
	engine, ok := a.Models.Find(asked.Model)
	if !ok {
		return nil, nil, a.noModel(asked.Model)
	}
	files := make([][]byte, len(asked.uris))
	for i, uri := range asked.uris {
		if files[i], err = pictures.FromURI(uri.text); err != nil {
			return nil, nil, inField(err, uri.field)
		}
		asked.uris[i].text = ""
	}
	guard.Note(r.Context(), "pictures", len(files))
	set, err := a.Pictures.Decode(r.Context(), files)
	if err != nil {
		return nil, nil, inField(err, "messages")
	}
	defer set.Release()
	reply, err := engine.Submit(serve.Request{ID: guard.ID(r.Context()), Client: guard.Client(r), Messages: asked.turns,
		Pictures: set.RGB, Sampling: asked.sampling})
	return asked, reply, err
}

// inField names the field at fault, if the error does not.
func inField(err error, field string) error {
	refusal := new(serve.Refusal)
	if errors.As(err, &refusal) && refusal.Field == "" {
		with := *refusal
		with.Field = field
		return &with
	}
	return err
}
