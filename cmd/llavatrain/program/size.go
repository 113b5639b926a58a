package program

import (
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// sizeUnits are those of transformers' max_shard_size and TB and TiB: decimal, or binary with an i.
var sizeUnits = map[string]float64{
	"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
}

// ParseSize reads a size, such as 512MB or 1.5 GiB, in whole bytes.
func ParseSize(text string) (int64, error) {
	end := strings.LastIndexAny(text, "0123456789.") + 1
	n, err := strconv.ParseFloat(text[:end], 64)
	unit := sizeUnits[strings.ToUpper(strings.TrimLeft(text[end:], " "))]
	if bytes := n * unit; err == nil && bytes >= 1 && bytes < 1<<63 {
		return int64(bytes), nil
	}
	return 0, failure.Inputf("%q is not a size; write a number and KB, MB, GB or TB, such as 512MB "+
		"(KiB, MiB, GiB, TiB for powers of two)", text)
}
