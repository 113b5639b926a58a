package program

import (
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"5GB": 5e9, "5 GB": 5e9, "5gb": 5e9, "512MB": 512e6, "1KB": 1000, "1.5TB": 15e11, "20kb": 20e3,
		"5GiB": 5 << 30, "1KiB": 1024, "2mib": 2 << 20, "1.5 GiB": 3 << 29, "1TiB": 1 << 40,
		"0.5KB": 500, ".5MB": 500_000, "1.0015KB": 1001, "1e3MB": 1e9, "9223372036GB": 9223372036e9,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "5", "GB", "5G", "5B", "5 ", " 5GB", "5GB ", "5Gb/s", "5PB",
		"-1GB", "0MB", "0.0001KB", "1,5GB", "1.2.3GB", "5GB5", "GB5",
		"infGB", "nanGB", "10000000000GB", "1e400GB", "5\tGB", "5\x1b[31mGB",
	} {
		if got, err := ParseSize(text); err == nil ||
			!strings.Contains(err.Error(), "is not a size; write a number and KB, MB, GB or TB, such as 512MB") {
			t.Errorf("%q is %d, %v", text, got, err)
		}
	}
}
