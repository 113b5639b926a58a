package controller

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/llavatrain/llavatrain/serve/guard"
	"github.com/llavatrain/llavatrain/serve/llava"
)

var full = &guard.Fault{Status: http.StatusServiceUnavailable, Kind: "server_error", Text: fmt.Sprintf(
	"The controller has %d workers, and takes no more.", maxWorkers)}

// Routes are the controller's paths.
func (c *Controller) Routes() llava.Routes {
	return llava.Routes{
		"/register_worker": c.register,
		"/refresh_all_workers": func(w http.ResponseWriter, r *http.Request) {
			c.refresh(r.Context())
			llava.WriteJSON(w, nil)
		},
		"/list_models":            func(w http.ResponseWriter, r *http.Request) { llava.WriteJSON(w, c.list()) },
		"/get_worker_address":     c.address,
		"/receive_heart_beat":     c.beatReceived,
		"/worker_generate_stream": c.pass,
		"/worker_get_status":      c.status,
	}
}

// loop answers a request that has passed too many controllers.
var loop = &guard.Fault{Status: http.StatusLoopDetected, Kind: "server_error", Text: "The controllers are registered " +
	"with each other in a circle, or are more than 3 in a row. Register each with the one above it only."}

// read reads a request's body with these keys into in. It answers and returns false if it cannot.
func read(w http.ResponseWriter, r *http.Request, in any, keys ...string) bool {
	body, err := guard.ReadBody(r)
	if err == nil {
		err = parse(body, in, keys...)
	}
	if err != nil {
		llava.WriteFault(w, err)
		return false
	}
	return true
}

// parse reads a JSON object. The error is a *guard.Fault.
func parse(body []byte, in any, keys ...string) error {
	var all map[string]json.RawMessage
	if json.Unmarshal(body, &all) != nil || all == nil {
		return llava.BadRequest("The body of the request is not a JSON object.")
	}
	for _, key := range keys {
		if all[key] == nil {
			return llava.BadRequest("The request has no %q.", key)
		}
	}
	wrong := new(json.UnmarshalTypeError)
	switch err := json.Unmarshal(body, in); {
	case errors.As(err, &wrong):
		return llava.BadRequest("The value of %q has the wrong type.", wrong.Field)
	case err != nil:
		return llava.BadRequest("The body of the request cannot be read.")
	}
	return nil
}

// register adds a worker. A worker that gives no status is not added; as in the original, the answer does not say so.
func (c *Controller) register(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Worker    string          `json:"worker_name"`
		CheckBeat bool            `json:"check_heart_beat"`
		Status    json.RawMessage `json:"worker_status"`
	}
	if !read(w, r, &asked, "worker_name", "check_heart_beat") {
		return
	}
	if fault := c.admit(r, asked.Worker); fault != nil {
		fault.Write(w)
		return
	}
	added := &worker{name: asked.Worker, checkBeat: asked.CheckBeat}
	if said := string(asked.Status); said == "" || said == "null" || said == "{}" {
		status, err := c.ask(r.Context(), added)
		if err != nil {
			c.mu.Lock()
			c.note("The worker %s %v, and is not registered.", asked.Worker, err)
			c.mu.Unlock()
			llava.WriteJSON(w, nil)
			return
		}
		added.status = *status
	} else if err := parse(asked.Status, &added.status, "model_names", "speed", "queue_length"); err != nil {
		llava.WriteFault(w, err)
		return
	} else if err := added.status.Check(); err != nil {
		llava.BadRequest("The worker %v.", err).Write(w)
		return
	}
	if !c.put(added) {
		full.Write(w)
		return
	}
	llava.WriteJSON(w, nil)
}

// admit refuses the address of a worker that the sender must not have the controller ask. Prompts and pictures of users
// are sent there, so a stranger must not name it; FastChat's controller lets any (its issues 3776 and 3886).
func (c *Controller) admit(r *http.Request, address string) *guard.Fault {
	if err := llava.CheckAddress(address); err != nil {
		return llava.BadRequest("The worker_name is the worker's address, and %v.", err)
	}
	u, _ := url.Parse(address)
	near := guard.PeerAddress(r).IsLoopback() && llava.Loopback(u.Hostname())
	if near || guard.HasToken(r, c.Token) {
		return nil
	}
	return &guard.Fault{Status: http.StatusForbidden, Kind: "permission_error", Text: "A worker on another machine, " +
		"or under another name of this one than localhost, is registered only with the controller's token. Send it."}
}

func (c *Controller) address(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Model string `json:"model"`
	}
	if read(w, r, &asked, "model") {
		llava.WriteJSON(w, map[string]string{"address": c.choose(asked.Model)})
	}
}

func (c *Controller) beatReceived(w http.ResponseWriter, r *http.Request) {
	var b llava.Beat
	if !read(w, r, &b, "worker_name", "queue_length") {
		return
	}
	if b.Queue < 0 {
		llava.BadRequest("The queue_length must be 0 or more.").Write(w)
		return
	}
	llava.WriteJSON(w, map[string]bool{"exist": c.beaten(b)})
}

// status is that of all workers together, asked now: the controller may be a worker of another one.
func (c *Controller) status(w http.ResponseWriter, r *http.Request) {
	ctx, ok := llava.Deeper(r)
	if !ok {
		loop.Write(w)
		return
	}
	workers := c.snapshot()
	statuses := make([]*llava.Status, len(workers))
	c.askAll(ctx, workers, func(at int, s *llava.Status) { statuses[at] = s })
	all := llava.Status{Models: []string{}}
	for _, s := range statuses {
		if s == nil {
			continue
		}
		all.Speed += s.Speed
		all.Queue += s.Queue
		for _, name := range s.Models {
			if !slices.Contains(all.Models, name) {
				all.Models = append(all.Models, name)
			}
		}
	}
	llava.WriteJSON(w, all)
}
