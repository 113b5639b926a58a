package chat

import (
	"bytes"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat/reply"
)

// Names of the parameter that limits an answer. OpenAI's newer models refuse the first; others do not know the second,
// and would write without a limit (llama-cpp-python issue 1907; Ollama).
const (
	limitTokens     = "max_tokens"
	limitCompletion = "max_completion_tokens"
)

// dialect is what servers of the same interface do differently. What they leave out of answers, and how they word
// errors, is read alike of all.
type dialect struct {
	limit     string
	keyHeader string // "": Authorization, as a bearer
	batchURL  string // in batch files
}

const autoDialect = "auto"

var dialects = map[string]dialect{
	"openai":    {limit: limitCompletion, batchURL: "/v1/chat/completions"},
	"azure":     {limit: limitCompletion, keyHeader: "api-key", batchURL: "/chat/completions"},
	"vllm":      {limit: limitTokens, batchURL: "/v1/chat/completions"},
	"sglang":    {limit: limitTokens, batchURL: "/v1/chat/completions"},
	"llama.cpp": {limit: limitTokens, batchURL: "/v1/chat/completions"},
	"ollama":    {limit: limitTokens, batchURL: "/v1/chat/completions"},
	"":          {limit: limitTokens, batchURL: "/v1/chat/completions"}, // any other
}

func dialectNames() []string {
	names := slices.Sorted(maps.Keys(dialects))
	names[0] = autoDialect // in place of ""
	return names
}

// dialectOf finds the dialect by the address. Servers that anybody can run have the same needs, so that an address
// says enough.
func dialectOf(name string, address *url.URL) dialect {
	host := strings.ToLower(address.Hostname())
	switch {
	case name != "" && name != autoDialect:
		return dialects[name]
	case host == "api.openai.com" || strings.HasSuffix(host, ".api.openai.com"):
		return dialects["openai"]
	case strings.HasSuffix(host, ".azure.com") || address.Query().Has("api-version"):
		return dialects["azure"]
	}
	return dialects[""]
}

// endpoint is where requests go.
type endpoint struct {
	dialect
	address string
	host    string // for messages
	model   string
	keyEnv  string
	key     string
	swapped bool // the limit has its other name
	http    *http.Client
}

// connect makes ready to send, without sending. It is the only place that reads the key.
func connect(s Settings) (*endpoint, error) {
	if s.URL == "" {
		return nil, failure.Inputf("no endpoint is named, and not every request has an answer in the ledger")
	}
	address, err := url.Parse(s.URL)
	if err != nil { // it was parsed when the settings were checked
		return nil, failure.Inputf("the endpoint's address cannot be read")
	}
	e := &endpoint{dialect: dialectOf(s.Dialect, address), host: address.Host, model: s.Model, keyEnv: s.KeyEnv}
	if !strings.HasSuffix(address.Path, "/chat/completions") {
		address = address.JoinPath("chat", "completions")
	}
	e.address = address.String()
	if e.key, err = keyIn(s.KeyEnv); err != nil {
		return nil, err
	}
	e.http = newHTTP(s)
	return e, nil
}

func keyIn(variable string) (string, error) {
	if variable == "" {
		return "", nil
	}
	key := strings.TrimSpace(os.Getenv(variable))
	if key == "" {
		return "", failure.Inputf("the environment variable %s, which key_env names, is empty: set it to the key",
			variable)
	}
	if strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", failure.Inputf("the environment variable %s holds characters that no key has", variable)
	}
	return key, nil
}

// authorize adds the key.
func (e *endpoint) authorize(headers http.Header) {
	switch {
	case e.key == "":
	case e.keyHeader != "":
		headers.Set(e.keyHeader, e.key)
	default:
		headers.Set("Authorization", "Bearer "+e.key)
	}
}

// secretLength is that of the shortest key that is worth hiding. Servers without keys are given words such as EMPTY or
// ollama, which answers may well contain.
const secretLength = 12

// hide removes the key from what an endpoint sends, in case it repeats it: errors do.
func (e *endpoint) hide(text []byte) []byte {
	if len(e.key) < secretLength {
		return text
	}
	text = bytes.ReplaceAll(text, []byte(e.key), []byte("[key]"))
	return bytes.ReplaceAll(text, []byte(strings.ReplaceAll(e.key, "/", `\/`)), []byte("[key]"))
}

// swap gives the limit its other name if the endpoint refused the one that a request had, once. It says whether the
// request can be sent again under another name.
func (e *endpoint) swap(it *item) bool {
	f := it.fault
	if f.Class != reply.BadRequest || f.Code != "unsupported_parameter" ||
		f.Param != it.limit && !strings.Contains(f.Message, "'"+it.limit+"'") {
		return false
	}
	if it.limit == e.limit && !e.swapped {
		e.swapped = true
		e.limit = map[string]string{limitTokens: limitCompletion, limitCompletion: limitTokens}[e.limit]
	}
	return it.limit != e.limit
}
