package load

import (
	"net/url"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Settings say whom to ask, what, and how often.
type Settings struct {
	URL   string // of the API, with /v1 at its end or without
	Model string // "": the first that the server lists
	Key   string // sent as a bearer token; "": none

	Clients  int           // of a closed loop; 0: an open one
	Rate     float64       // of an open loop, requests a second; 0: a closed one
	Requests int           // 0: any number
	Duration time.Duration // after it no request begins; 0: any
	WarmUp   int           // requests before those, one after another, which are not measured

	Words     int     // of a prompt
	MaxTokens int     // of an answer
	IgnoreEnd bool    // answers go on to MaxTokens (ignore_eos, which vLLM, llama-server and llavatrain know)
	Share     float64 // of requests that have a picture, 0 to 1
	Picture   string  // New, Same or a folder of pictures
	Size      int     // width and height of drawn pictures, in pixels
	Seed      uint64
}

// Values of Settings.Picture that are no folder.
const (
	New  = "new"  // each is drawn, and is another
	Same = "same" // one is drawn, and is asked about again and again
)

// Limits that keep a slip of the keyboard from filling the memory.
const (
	maxClients = 4096
	maxWords   = 100_000
	maxSize    = 4096
)

// check refuses what cannot be measured. Its errors are the user's.
func (s *Settings) check() error {
	for _, rule := range []struct {
		ok   bool
		text string
	}{
		{(s.Clients > 0) != (s.Rate > 0), "either clients or a rate must be given, and be more than 0"},
		{s.Clients >= 0 && s.Clients <= maxClients, "clients must be 1 to 4096"},
		{s.Rate >= 0 && s.Rate <= 1e6, "the rate must be at most 1000000 requests a second"},
		{s.Requests >= 0 && s.Duration >= 0 && (s.Requests > 0 || s.Duration > 0),
			"a number of requests or a duration must be given, and be more than 0"},
		{s.WarmUp >= 0, "the warm-up must be at least 0 requests"},
		{s.Words > 0 && s.Words <= maxWords, "prompts must have 1 to 100000 words"},
		{s.MaxTokens > 0, "the longest answer must be at least 1 token"},
		{s.Share >= 0 && s.Share <= 1, "the share of requests with a picture must be 0 to 1"},
		{s.Size > 0 && s.Size <= maxSize, "drawn pictures must have a side of 1 to 4096 pixels"},
	} {
		if !rule.ok {
			return failure.Inputf("%s", rule.text)
		}
	}
	return nil
}

// base is the API's address, which ends with /v1 or whatever the user's does.
func (s *Settings) base() (string, error) {
	u, err := url.Parse(s.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" ||
		u.Fragment != "" {
		return "", failure.Inputf("a server's address has the form http://HOST:PORT or http://HOST:PORT/v1, not %q",
			s.URL)
	}
	if u.Path = strings.TrimRight(u.Path, "/"); u.Path == "" {
		u.Path = "/v1"
	}
	return u.String(), nil
}
