package chat

import (
	"cmp"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Settings say which endpoint is asked, how fast, and for how much.
type Settings struct {
	URL      string // up to /v1; "": the ledger is only read
	Model    string
	KeyEnv   string // the environment variable that holds the key; "": no key is sent
	Dialect  string // a key of dialects, or "auto" or "": by the address
	Insecure bool   // permits http to another machine

	Concurrency int           // requests in flight at most; 0: 16
	RPM, TPM    int           // requests and tokens a minute; 0: what the endpoint says
	Timeout     time.Duration // until an answer begins to arrive; 0: two minutes
	Patience    time.Duration // how long an endpoint may give no answer before the run ends; 0: half an hour
	Tries       int           // answers to one request at most, if its caller asks for another; 0: 2

	Budget Budget

	// Say is told what the user should know while Run waits or changes something; nil: nobody is told. What the text
	// repeats of an answer is quoted.
	Say func(text string)
}

// usual fills in what was left out.
func (s Settings) usual() Settings {
	s.Concurrency = cmp.Or(s.Concurrency, 16)
	s.Timeout = cmp.Or(s.Timeout, 2*time.Minute)
	s.Patience = cmp.Or(s.Patience, 30*time.Minute)
	s.Tries = cmp.Or(s.Tries, 2)
	if s.Say == nil {
		s.Say = func(string) {}
	}
	return s
}

// check refuses what cannot be meant. The address is not shown: it may hold a key.
func (s Settings) check() error {
	switch {
	case s.Concurrency < 1 || s.RPM < 0 || s.TPM < 0 || s.Timeout < 0 || s.Patience < 0 || s.Tries < 1:
		return failure.Inputf("concurrency and tries must be at least 1, rpm, tpm, timeout and patience at least 0")
	case s.Budget.Money > 0 && s.Budget.Prices == Prices{}:
		return failure.Inputf("a budget of money needs prices")
	case s.URL == "":
		return nil
	case s.Model == "":
		return failure.Inputf("no model is named")
	}
	if _, ok := dialects[s.Dialect]; !ok && s.Dialect != autoDialect {
		return failure.NotOneOf("dialect", s.Dialect, dialectNames())
	}
	address, err := url.Parse(s.URL)
	if err != nil || address.Host == "" || address.Scheme != "https" && address.Scheme != "http" {
		return failure.Inputf("the endpoint's address must have the form https://HOST/v1")
	}
	if address.User != nil || hasSecret(address.Query()) {
		return failure.Inputf("the endpoint's address holds a password or a key: put it into an environment " +
			"variable, and the variable's name into key_env")
	}
	if address.Scheme == "http" && !s.Insecure && !isLoopback(address.Hostname()) {
		return failure.Inputf("http to %q would send key and prompts unencrypted: use https, or set insecure: true",
			address.Hostname())
	}
	return nil
}

var secretParameter = regexp.MustCompile(`(?i)key|token|secret|password|sig`)

func hasSecret(parameters url.Values) bool {
	for name := range parameters {
		if secretParameter.MatchString(name) {
			return true
		}
	}
	return false
}

// isLoopback says whether a host is this machine. Names other than localhost are not looked up.
func isLoopback(host string) bool {
	if address, err := netip.ParseAddr(host); err == nil {
		return address.IsLoopback()
	}
	host = strings.ToLower(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
