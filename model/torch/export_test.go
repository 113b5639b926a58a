package torch

import (
	"testing"
	"time"
)

// NewStagedGloo is NewGloo for tensors of the CPU that go through a second buffer, as those of a GPU do.
func NewStagedGloo(s *Store, g Gloo) (*Comm, error) { return newGloo(s, g, true) }

// SetStorePatience shortens the time for an answer until the test ends.
func SetStorePatience(t testing.TB, d time.Duration) {
	before := storePatience
	storePatience = d
	t.Cleanup(func() { storePatience = before })
}
