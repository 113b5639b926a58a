package ranks

import (
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/llavatrain/llavatrain/model/torch"
)

// PeerError ends a process because of another one of its job, or because they could not come together. It says who and
// why.
type PeerError struct{ Why string }

func (e *PeerError) Error() string { return e.Why }

// reason is what the engine says of an error, without saying that it is the engine.
func reason(err error) string {
	var e *torch.Error
	if errors.As(err, &e) {
		return e.Msg
	}
	return err.Error()
}

// writeErrorFile leaves the reason of a failure where torchrun looks for it, to show it in its summary.
func writeErrorFile(why string) {
	path := os.Getenv("TORCHELASTIC_ERROR_FILE")
	if path == "" {
		return
	}
	report, err := json.Marshal(map[string]any{"message": why, "timestamp": time.Now().Unix()})
	if err == nil {
		_ = os.WriteFile(path, report, 0o666) // a summary without a reason is no further failure
	}
}
