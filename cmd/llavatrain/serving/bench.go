package serving

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/serve/load"
)

// NewBenchServe returns the command bench serve.
func NewBenchServe(p *program.Program) *cobra.Command {
	var s load.Settings
	var keyVariable string
	c := &cobra.Command{
		Use:   "serve URL",
		Short: "Time the answers of a server of OpenAI's API; prints JSON",
		Long: "Time the answers of a server of OpenAI's API, ours or another. --clients ask again when their answer " +
			"has ended; with --rate requests come at random times, whatever the server does. Prompts are words drawn " +
			"by --seed. The result is JSON on standard output, and a table on standard error.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			s.URL = args[0]
			if s.Rate != 0 {
				s.Clients = 0
			}
			if s.Requests == 0 && s.Duration == 0 {
				s.Requests = 100
			}
			if s.Key, err = keyIn(keyVariable); err != nil {
				return err
			}
			result, err := load.Run(c.Context(), s)
			if result == nil {
				return err
			}
			fmt.Fprint(p.Err, result.Table())
			if printed := program.PrintJSON(p.Out, result); printed != nil {
				return failure.Storage(printed)
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&s.Model, "model", "", "`NAME` of the model; default: the first that the server lists")
	f.StringVar(&keyVariable, "key-env", "", "environment `VARIABLE` with the server's key or token")
	f.IntVar(&s.Clients, "clients", 1, "closed loop: `N` clients, of which each asks again when its answer has ended")
	f.Float64Var(&s.Rate, "rate", 0, "open loop: `N` requests a second on average, at random times")
	f.IntVar(&s.Requests, "requests", 0, "end after `N` requests; default: 100, or with --duration any number")
	f.DurationVar(&s.Duration, "duration", 0, "begin no request after this `TIME`, such as 30s; those that run may end")
	f.IntVar(&s.WarmUp, "warm-up", 1, "`N` requests before, which are not measured")
	f.IntVar(&s.Words, "words", 32, "words of a prompt, `N`")
	f.IntVar(&s.MaxTokens, "max-tokens", 128, "longest answer, `N` tokens")
	f.BoolVar(&s.IgnoreEnd, "ignore-eos", false, "let every answer go on to --max-tokens, where the server can")
	f.Float64Var(&s.Share, "pictures", 0, "`SHARE` of the requests that have a picture, 0 to 1")
	f.StringVar(&s.Picture, "picture", load.New, "new: every picture is drawn; same: one is asked about again and "+
		"again; or a `FOLDER` of pictures, in turn")
	f.IntVar(&s.Size, "picture-size", 336, "width and height of drawn pictures, `N` pixels")
	f.Uint64Var(&s.Seed, "seed", 0, "`N` that prompts, pictures and arrivals are drawn by")
	c.MarkFlagsMutuallyExclusive("clients", "rate")
	return c
}

// keyIn reads a key from an environment variable, so that it stands in no list of processes.
func keyIn(variable string) (string, error) {
	if variable == "" {
		return "", nil
	}
	key := strings.TrimSpace(os.Getenv(variable))
	if key == "" || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", failure.Inputf("the environment variable %s, which --key-env names, holds no key", variable)
	}
	return key, nil
}
