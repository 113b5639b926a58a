package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Run measures a server. A server that does not answer is an error of the remote end; so are answers that have all
// failed, which are in the result nevertheless. Single failures are counted, and nothing is asked again.
func Run(ctx context.Context, s Settings) (*Result, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	base, err := s.base()
	if err != nil {
		return nil, err
	}
	c := newClient(base, s.Key)
	defer c.http.CloseIdleConnections()
	if s.Model, err = c.find(ctx, s.Model); err != nil {
		return nil, err
	}
	m, err := newMix(s)
	if err != nil {
		return nil, err
	}
	if s.WarmUp > 0 {
		warm := loop{clients: 1, requests: s.WarmUp, question: m.question, ask: c.ask}
		warm.run(ctx)
	}
	l := loop{clients: s.Clients, rate: s.Rate, requests: s.Requests, duration: s.Duration, seed: s.Seed, ask: c.ask,
		question: func(i int) question { return m.question(s.WarmUp + i) }}
	began := time.Now()
	l.run(ctx)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := newResult(s, base, began, &l)
	if r.Answered == 0 && r.Requests > 0 {
		return r, failure.Remotef("all %d requests to %s failed; %s: %s", r.Requests, base, r.Failures[0].Kind,
			r.Failures[0].First)
	}
	return r, nil
}

// find asks which models there are. It is how a server that does not answer is found out. A server that answers need
// not know this question if the user names the model.
func (c *client) find(ctx context.Context, model string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, connecting)
	defer cancel()
	response, err := c.send(ctx, http.MethodGet, "/models", nil)
	if err != nil {
		return "", failure.Remotef("nothing answers at %s: %w: start the server, or mend the address", c.base, err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	switch err := json.Unmarshal(body, &list); {
	case response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden:
		return "", failure.Remotef("%s lets nobody in: %s", c.base, printable(said(body)))
	case model != "":
		return model, nil
	case response.StatusCode != http.StatusOK || err != nil:
		return "", failure.Remotef("%s lists no models (%s): name one, or mend the address", c.base,
			printable(fmt.Sprint("status ", response.StatusCode, ": ", said(body))))
	case len(list.Data) == 0 || list.Data[0].ID == "":
		return "", failure.Remotef("%s serves no model now", c.base)
	}
	return list.Data[0].ID, nil
}
