package looking

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/llavatrain/llavatrain/cmd/llavatrain/program"
	"github.com/llavatrain/llavatrain/model/torch"
)

// NewVersion returns the command version.
func NewVersion(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of llavatrain and libtorch",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			engine, err := torch.Open()
			fmt.Fprintf(p.Out, "llavatrain %s, libtorch %s (built against %s)\n", program.Version, engine.Version,
				engine.BuiltAgainst)
			return err
		},
	}
}
