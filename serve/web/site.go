package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/guard"
	"github.com/llavatrain/llavatrain/serve/llava"
	"github.com/llavatrain/llavatrain/serve/pictures"
)

// noTime is for files without a date: their tags say whether they have changed.
var noTime time.Time

// Settings of a site.
type Settings struct {
	Source Source
	Mode   ListMode
	Log    *Log // nil: nothing is logged
	Embed  bool // the page stands in another: no title, no terms
}

// Site is the page, its own paths, and the models for OpenAI's API.
type Site struct {
	Settings
	models catalogue
}

// New makes a site.
func New(s Settings) *Site {
	site := &Site{Settings: s}
	site.models = catalogue{source: s.Source, mode: s.Mode, wrap: func(e serve.Engine) serve.Engine {
		if s.Log == nil {
			return e
		}
		return &logged{e, s.Log}
	}}
	return site
}

// Load lists the models, as a server does at its start. The error ends a sentence about what was asked.
func (s *Site) Load(ctx context.Context) error {
	_, err := s.models.load(ctx)
	return err
}

// List implements openai.Models.
func (s *Site) List() []serve.Model {
	var list []serve.Model
	for _, m := range s.models.known(context.Background()) {
		list = append(list, m.Model())
	}
	return list
}

// Find implements openai.Models. With Reload, a model that is not listed is looked for among new workers.
func (s *Site) Find(name string) (serve.Engine, bool) {
	return s.models.find(context.Background(), name)
}

// Handles reports whether a request is for the site, and not for an API beside it.
func (s *Site) Handles(r *http.Request) bool {
	return IsFile(r) || r.URL.Path == "/page/models" || r.URL.Path == "/page/vote"
}

// ServeHTTP answers a request that it Handles.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case IsFile(r):
		serveFile(w, r)
	case path == "/page/models" && r.Method == http.MethodGet:
		s.list(w, r)
	case path == "/page/vote" && r.Method == http.MethodPost:
		s.vote(w, r)
	case path == "/page/models", path == "/page/vote":
		fault(http.StatusMethodNotAllowed, "This path is asked by GET page/models and POST page/vote.").Write(w)
	default:
		fault(http.StatusNotFound, "There is nothing at this path.").Write(w)
	}
}

func fault(status int, format string, args ...any) *guard.Fault {
	kind := "invalid_request_error"
	if status >= http.StatusInternalServerError {
		kind = "server_error"
	}
	return &guard.Fault{Status: status, Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// listed is a model for the page.
type listed struct {
	ID           string `json:"id"`
	Known        bool   `json:"known"`
	Template     string `json:"template"`
	Images       bool   `json:"images"`
	ImageTokens  int    `json:"image_tokens"`
	MaxPositions int    `json:"max_positions"`
	Queue        int    `json:"queue"`
}

func (s *Site) list(w http.ResponseWriter, r *http.Request) {
	models, err := s.models.load(r.Context())
	if err != nil {
		fault(http.StatusBadGateway, "The controller of the models %v. Start it, or load the page again later.",
			err).Write(w)
		return
	}
	page := struct {
		Models       []listed `json:"models"`
		Selected     string   `json:"selected"`
		Votes        bool     `json:"votes"`
		Embed        bool     `json:"embed"`
		Pictures     int      `json:"pictures"`
		PictureBytes int      `json:"picture_bytes"`
		Pixels       int      `json:"pixels"`
		BodyBytes    int      `json:"body_bytes"`
	}{[]listed{}, "", s.Log != nil, s.Embed, pictures.MaxPictures, pictures.MaxFile, picture.MaxPixels, guard.MaxBody}
	for _, m := range models {
		d := m.Model()
		page.Models = append(page.Models, listed{d.Name, m.Known, d.Template, d.Images, d.ImageTokens, d.MaxPositions,
			m.Queue})
	}
	if wanted := r.URL.Query().Get("model"); index(models, wanted) >= 0 {
		page.Selected = wanted
	} else if len(models) > 0 {
		page.Selected = models[0].Model().Name
	}
	w.Header().Set("Cache-Control", "no-store")
	llava.WriteJSON(w, page)
}

const (
	maxVote     = 1 << 20 // bytes
	maxMessages = 1000
)

var votes = []string{"upvote", "downvote", "flag"}

func (s *Site) vote(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxVote)
	body, err := guard.ReadBody(r)
	if err != nil {
		llava.WriteFault(w, err)
		return
	}
	var v vote
	if err := json.Unmarshal(body, &v); err != nil {
		fault(http.StatusBadRequest, "The vote cannot be read: it is an object with vote, model, id and "+
			"messages.").Write(w)
		return
	}
	if fault := v.check(); fault != nil {
		fault.Write(w)
		return
	}
	if s.Log != nil {
		if err := s.Log.vote(&v, guard.PeerAddress(r)); err != nil {
			fault(http.StatusInsufficientStorage, "The vote cannot be kept: the server's log is full or cannot be "+
				"written.").Write(w)
			return
		}
	}
	llava.WriteJSON(w, map[string]bool{"kept": s.Log != nil})
}

// vote is what the page sends.
type vote struct {
	Vote     string `json:"vote"`
	Model    string `json:"model"`
	ID       string `json:"id"`
	Messages []struct {
		Role     string `json:"role"`
		Text     string `json:"text"`
		Pictures int    `json:"pictures"`
	} `json:"messages"`
}

func (v *vote) check() *guard.Fault {
	switch {
	case !slices.Contains(votes, v.Vote):
		return fault(http.StatusBadRequest, "A vote is one of upvote, downvote and flag.")
	case llava.CheckName(v.Model) != nil:
		return fault(http.StatusBadRequest, "The model of a vote %v.", llava.CheckName(v.Model))
	case utf8.RuneCountInString(v.ID) > llava.MaxName:
		return fault(http.StatusBadRequest, "The id of a vote is too long.")
	case len(v.Messages) == 0 || len(v.Messages) > maxMessages:
		return fault(http.StatusBadRequest, "A vote has 1 to %d messages.", maxMessages)
	}
	for _, m := range v.Messages {
		if roles[m.Role] == "" {
			return fault(http.StatusBadRequest, "A message's role is system, user or assistant.")
		}
		if m.Pictures < 0 || m.Pictures > pictures.MaxPictures {
			return fault(http.StatusBadRequest, "A message has 0 to %d pictures.", pictures.MaxPictures)
		}
	}
	return nil
}
