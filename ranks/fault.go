package ranks

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
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

// reported is done once this process has written why it ends: the first reason counts, and who has a second one waits.
var reported sync.Once

// writeErrorFile leaves the reason of a failure where torchrun looks for it, to show it in its summary.
func writeErrorFile(why string) {
	if path := os.Getenv("TORCHELASTIC_ERROR_FILE"); path != "" {
		reported.Do(func() { writeReason(path, why) })
	}
}

func writeReason(path, why string) {
	report, err := json.Marshal(map[string]any{"message": why, "timestamp": time.Now().Unix()})
	whole := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err == nil {
		err = os.WriteFile(whole, report, 0o666)
	}
	if err == nil {
		_ = os.Rename(whole, path) // torchrun fails if it reads half a file; without one it has no reason to show
	}
}
