package serving

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/serve/guard"
	"github.com/llavatrain/llavatrain/serve/llava"
)

// serverFlags are the flags of everything that listens.
type serverFlags struct {
	guard.Settings
	tokenFile, rate string
}

func (s *serverFlags) add(f *pflag.FlagSet, port int, what string) {
	f.StringVar(&s.Host, "host", "127.0.0.1",
		"`ADDRESS` to listen on; on another than this machine's own, requests need a token")
	f.IntVar(&s.Port, "port", port, "`PORT` of the "+what)
	f.StringVar(&s.tokenFile, "token-file", "",
		"`FILE` with the token, which only its owner may read; default: "+guard.TokenVariable+
			", or one that is made and kept in the cache folder")
	f.BoolVar(&s.TokenAlways, "token-always", false,
		"requests of this machine need the token too; behind a proxy, set this")
	f.StringArrayVar(&s.AllowHosts, "allow-host", nil, "`HOST` that requests may name (may be repeated)")
	f.StringArrayVar(&s.AllowOrigins, "allow-origin", nil,
		"`ORIGIN` of other pages that may ask, such as https://example.org (may be repeated)")
	f.StringVar(&s.rate, "rate", "", "most requests of a client, `NUMBER/m` (or /s, /h); default: any number")
	f.DurationVar(&s.Drain, "drain", 25*time.Second, "`TIME` that requests may go on when the server is ended")
}

// settle finds the token and checks the flags. It says on out what the user must know of a token that was made.
func (s *serverFlags) settle(out io.Writer) (err error) {
	if s.rate != "" {
		if s.Rate, err = guard.ParseRate(s.rate); err != nil {
			return err
		}
	}
	s.Log = out
	if !s.NeedsToken() {
		s.Token, err = guard.FindToken(s.tokenFile, tokenFolder())
		return err
	}
	made := false
	if s.Token, made, err = guard.KeepToken(s.tokenFile, tokenFolder()); err == nil && made {
		fmt.Fprintf(out, "requests of other machines need the token %s (kept in %s): -H 'Authorization: Bearer %s'\n",
			s.Token, tokenFolder(), s.Token)
	}
	return err
}

// client asks other programs of the same user.
func (s *serverFlags) client() *http.Client { return llava.NewClient(s.Token, s.TokenAlways) }

// tokenFolder is where a user's servers find their common token.
func tokenFolder() string {
	dir, err := checkpoints.CacheFolder()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "serve")
}

// aliases makes other names for flags: the original's programs take any beginning of a long name.
func aliases(f *pflag.FlagSet, names map[string]string) {
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if long, ok := names[name]; ok {
			name = long
		}
		return pflag.NormalizedName(name)
	})
}

// ignored are flags of the original's programs that mean nothing here.
type ignored struct{ names []string }

func (i *ignored) bools(f *pflag.FlagSet, names ...string) {
	for _, name := range names {
		f.Bool(name, false, "accepted for the original's command lines; it means nothing here")
	}
	i.hide(f, names)
}

func (i *ignored) values(f *pflag.FlagSet, names ...string) {
	for _, name := range names {
		f.String(name, "", "accepted for the original's command lines; it means nothing here")
	}
	i.hide(f, names)
}

func (i *ignored) hide(f *pflag.FlagSet, names []string) {
	for _, name := range names {
		f.MarkHidden(name)
	}
	i.names = append(i.names, names...)
}

// tell says which of them were given.
func (i *ignored) tell(f *pflag.FlagSet, out io.Writer) {
	var given []string
	for _, name := range i.names {
		if f.Changed(name) {
			given = append(given, "--"+name)
		}
	}
	if len(given) > 0 {
		fmt.Fprintf(out, "%s: without meaning here, ignored\n", strings.Join(given, ", "))
	}
}

// refused are flags of the original's programs that cannot be had here, and why.
func refused(f *pflag.FlagSet, reasons map[string]string) func() error {
	for name := range reasons {
		f.Bool(name, false, "")
		f.MarkHidden(name)
	}
	return func() error {
		for name, why := range reasons {
			if f.Changed(name) {
				return failure.Inputf("--%s: %s", name, why)
			}
		}
		return nil
	}
}
