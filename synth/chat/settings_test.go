package chat

import (
	"context"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/chat/chattest"
)

func TestSettings(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Settings)
		says   string // "": they are right
	}{
		"https":            {func(s *Settings) { s.URL = "https://example.com/v1" }, ""},
		"localhost":        {func(s *Settings) { s.URL = "http://localhost:8000/v1" }, ""},
		"loopback 4":       {func(s *Settings) { s.URL = "http://127.0.0.2/v1" }, ""},
		"loopback 6":       {func(s *Settings) { s.URL = "http://[::1]:8000/v1" }, ""},
		"insecure":         {func(s *Settings) { s.URL, s.Insecure = "http://10.0.0.1/v1", true }, ""},
		"only read":        {func(s *Settings) { *s = Settings{} }, ""},
		"version":          {func(s *Settings) { s.URL = "https://x.openai.azure.com/openai?api-version=1" }, ""},
		"plain":            {func(s *Settings) { s.URL = "http://example.com/v1" }, `http to "example.com"`},
		"looks like local": {func(s *Settings) { s.URL = "http://localhost.example.com/v1" }, "unencrypted"},
		"private":          {func(s *Settings) { s.URL = "http://10.0.0.1/v1" }, "unencrypted"},
		"scheme":           {func(s *Settings) { s.URL = "ftp://localhost/v1" }, "https://HOST/v1"},
		"no scheme":        {func(s *Settings) { s.URL = "localhost:8000" }, "https://HOST/v1"},
		"not an address":   {func(s *Settings) { s.URL = "https://u:" + secret + "@[/v1" }, "https://HOST/v1"},
		"password":         {func(s *Settings) { s.URL = "https://u:" + secret[:12] + "@x.com" }, "password or a key"},
		"key":              {func(s *Settings) { s.URL = "https://x.com/v1?key=" + secret }, "password or a key"},
		"token":            {func(s *Settings) { s.URL = "https://x.com?a_Token=" + secret }, "password or a key"},
		"model":            {func(s *Settings) { s.Model = "" }, "no model"},
		"dialect":          {func(s *Settings) { s.Dialect = "klingon" }, "auto, azure, llama.cpp, ollama, openai,"},
		"concurrency":      {func(s *Settings) { s.Concurrency = -1 }, "at least 1"},
		"rpm":              {func(s *Settings) { s.RPM = -1 }, "at least 0"},
		"prices":           {func(s *Settings) { s.Budget.Money = 5 }, "needs prices"},
	} {
		s := settings("https://example.com/v1")
		c.change(&s)
		opened, err := Open(t.TempDir(), s)
		if c.says == "" {
			must(t, err)
			must(t, opened.Close())
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), secret[:12]) {
			t.Errorf("%s: %v, want %q and no secret", name, err, c.says)
			continue
		}
		wantError(t, err, failure.ErrInput)
		if _, err := Look(t.TempDir(), s); err == nil {
			t.Errorf("%s: can be looked at", name)
		}
	}
}

// The environment has the key, and is not asked before it is needed.
func TestKeyIsReadWhenNeeded(t *testing.T) {
	e, folder := &chattest.Endpoint{}, t.TempDir()
	s := settings(serve(t, e))
	_, err := runKeys(t, folder, s, ask(keys(3)))
	must(t, err)
	s.KeyEnv = keyVariable
	for value, says := range map[string]string{
		"": "is empty", "  \n": "is empty", "sk-two words": "characters that no key has", "sk-é": "characters",
		"sk-\x00": "characters",
	} {
		if strings.Contains(value, "\x00") {
			continue // cannot be set
		}
		t.Setenv(keyVariable, value)
		_, err = runKeys(t, folder, s, ask(keys(3)))
		must(t, err)
		_, err = runKeys(t, folder, s, ask(keys(4)))
		wantError(t, err, failure.ErrInput, keyVariable, says)
		if value != "" && strings.Contains(err.Error(), strings.TrimSpace(value)) && len(strings.TrimSpace(value)) > 0 {
			t.Errorf("the key is shown: %v", err)
		}
	}
	s.URL = ""
	_, err = runKeys(t, folder, s, ask(keys(4)))
	wantError(t, err, failure.ErrInput, "no endpoint is named")
	if len(e.Calls()) != 3 || len(readLedger(t, folder)) != 7 {
		t.Errorf("%d calls, %d records", len(e.Calls()), len(readLedger(t, folder)))
	}
}

// Where requests go, with which key, and how their limit is called.
func TestDialects(t *testing.T) {
	t.Setenv(keyVariable, secret)
	const version = "?api-version=2024-10-21"
	bearer, plain := "Bearer "+secret, secret
	for _, c := range []struct{ dialect, url, path, limit, authorization, apiKey string }{
		{"", "https://api.openai.com/v1", "/chat/completions", limitCompletion, bearer, ""},
		{"auto", "https://eu.api.openai.com/v1", "/chat/completions", limitCompletion, bearer, ""},
		{"", "https://api.openai.com.example.com/v1", "/chat/completions", limitTokens, bearer, ""},
		{"", "https://r.openai.azure.com/openai/a" + version, "/chat/completions" + version, limitCompletion,
			"", plain},
		{"azure", "https://proxy.example.com/a", "/chat/completions", limitCompletion, "", plain},
		{"", "http://localhost:11434/v1", "/chat/completions", limitTokens, bearer, ""},
		{"vllm", "http://localhost:8000/v1/chat/completions", "", limitTokens, bearer, ""},
		{"openai", "http://localhost:4000", "/chat/completions", limitCompletion, bearer, ""},
	} {
		s := settings(c.url)
		s.Dialect, s.KeyEnv = c.dialect, keyVariable
		e, err := connect(s.usual())
		must(t, err)
		headers := http.Header{}
		e.authorize(headers)
		address := strings.TrimSuffix(c.url, version) + c.path
		if e.address != address || e.limit != c.limit || headers.Get("Authorization") != c.authorization ||
			headers.Get("Api-Key") != c.apiKey || len(headers) != 1 {
			t.Errorf("%s: %s, %s, %v", c.url, e.address, e.limit, headers)
		}
	}
	// Without a key none is sent.
	e, err := connect(settings("http://localhost/v1").usual())
	must(t, err)
	if headers := (http.Header{}); true {
		if e.authorize(headers); len(headers) != 0 {
			t.Errorf("%v", headers)
		}
	}
}

// What is sent: what was set, in an order that lets endpoints keep what many requests begin with.
func TestBody(t *testing.T) {
	warm, top, seed := 0.5, 1.0, 7
	r := Request{Messages: []byte(` [{"role": "user",  "content": "<image> & more"}] `), MaxTokens: 9}
	for want, c := range map[string]struct {
		limit    string
		sampling Sampling
	}{
		`"max_tokens":9}`: {limitTokens, Sampling{}},
		`"max_completion_tokens":9,"temperature":0.5,"top_p":1,"seed":7}`: {limitCompletion,
			Sampling{&warm, &top, &seed}},
	} {
		want = `{"model":"m","messages":[{"role":"user","content":"<image> & more"}],` + want + "\n"
		r.Sampling = c.sampling
		if got := string(r.body("m", c.limit)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// A request that cannot be meant is an error of its caller, and is not sent.
func TestBadRequests(t *testing.T) {
	e := &chattest.Endpoint{}
	s := settings(serve(t, e))
	infinite := math.Inf(1)
	for name, change := range map[string]func(*Request){
		"no key":      func(r *Request) { r.Key = "" },
		"key":         func(r *Request) { r.Key = "a\r\nb" },
		"long key":    func(r *Request) { r.Key = strings.Repeat("k", 65) },
		"no messages": func(r *Request) { r.Messages = nil },
		"object":      func(r *Request) { r.Messages = []byte(`{}`) },
		"half":        func(r *Request) { r.Messages = []byte(`[{`) },
		"no limit":    func(r *Request) { r.MaxTokens = 0 },
		"sampling":    func(r *Request) { r.Sampling.Temperature = &infinite },
	} {
		r := request("k")
		change(&r)
		c := open(t, t.TempDir(), s)
		if err := c.Run(context.Background(), func() (Request, bool) { return r, true }, ask(nil).done); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if len(e.Calls()) > 0 {
		t.Errorf("%d were sent", len(e.Calls()))
	}
}

// The key is in no file and in no message, however often the endpoint repeats it.
func TestKeyIsHidden(t *testing.T) {
	t.Setenv(keyVariable, secret)
	for _, b := range []chattest.Behaviour{chattest.EchoKey, chattest.Unauthorized} {
		e, folder := &chattest.Endpoint{Script: script(chattest.Answer, b, b, b, b), Bearer: secret}, t.TempDir()
		s := settings(serve(t, e))
		printed := ""
		s.KeyEnv, s.Concurrency, s.Say = keyVariable, 1, func(text string) { printed += text + "\n" }
		who := ask(keys(5))
		_, err := runKeys(t, folder, s, who)
		if b == chattest.Unauthorized {
			wantError(t, err, failure.ErrRemote, "[key]", keyVariable)
			printed += err.Error()
		} else if must(t, err); who.last["k1"].Reply.Content != "You sent Bearer [key]" {
			t.Errorf("%+v", who.last["k1"])
		}
		for _, a := range who.last {
			printed += a.Reply.Content + a.Reply.Served + a.Reply.Request
			if a.Fault != nil {
				printed += a.Fault.Error()
			}
		}
		if !strings.Contains(printed, "[key]") {
			t.Error("the endpoint did not repeat the key")
		}
		checkSecret(t, folder, printed)
	}
	// A word that servers without keys are given is not hidden.
	e := &endpoint{key: "ollama"}
	if got := string(e.hide([]byte("an ollama"))); got != "an ollama" {
		t.Error(got)
	}
}

// A wrong key ends a run at its first request, a key that is withdrawn at the third.
func TestWrongKey(t *testing.T) {
	t.Setenv(keyVariable, "sk-wrong-wrong-wrong")
	e, folder := &chattest.Endpoint{Bearer: secret}, t.TempDir()
	s := settings(serve(t, e))
	s.KeyEnv = keyVariable
	_, err := runKeys(t, folder, s, ask(keys(100)))
	wantError(t, err, failure.ErrRemote, keyVariable, "status 401")
	if len(e.Calls()) != 1 {
		t.Errorf("%d requests", len(e.Calls()))
	}
	t.Setenv(keyVariable, secret)
	n := 0
	e.Script = func(chattest.Call) chattest.Behaviour {
		if n++; n > 50 {
			return chattest.Unauthorized
		}
		return chattest.Answer
	}
	summary, err := runKeys(t, folder, s, ask(keys(1000)))
	wantError(t, err, failure.ErrRemote, keyVariable, "status 401")
	if sent := len(e.Calls()) - 1; summary.Answers != 50 || sent > 50+3+2*s.Concurrency {
		t.Errorf("%d answers, %d requests", summary.Answers, sent)
	}
}

// No request is repeated behind the ledger's back: net/http would, of one with a key of idempotency whose connection
// breaks after others went well.
func TestNothingIsSentTwice(t *testing.T) {
	n := 0
	e, folder := &chattest.Endpoint{Script: func(chattest.Call) chattest.Behaviour {
		if n++; n%5 == 0 {
			return chattest.Reset
		}
		return chattest.Answer
	}}, t.TempDir()
	s := settings(serve(t, e))
	s.Concurrency = 1
	_, err := runKeys(t, folder, s, ask(keys(30)))
	must(t, err)
	claims := 0
	for _, r := range readLedger(t, folder) {
		if r.Record == recordClaim {
			claims++
		}
	}
	if claims != len(e.Calls()) {
		t.Errorf("%d claims, %d requests", claims, len(e.Calls()))
	}
}
