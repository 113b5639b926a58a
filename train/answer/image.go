package answer

import (
	"encoding/hex"
	"os"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// ImagePath is the path of the image file that --image names, by a path or a file: URL.
func ImagePath(given string) (string, error) {
	path := given
	if scheme, rest, ok := strings.Cut(given, ":"); ok && strings.EqualFold(scheme, "file") {
		if path, ok = pathOf(rest); !ok {
			return "", failure.Inputf("image %q is no address of a file on this machine; give the file's path", given)
		}
	} else if strings.Contains(given, "://") {
		return "", failure.Inputf("image %q is an address; nothing is downloaded: download it and give its path", given)
	}
	if _, err := os.Stat(path); err != nil {
		if before, _, list := strings.Cut(given, ","); list {
			if _, err := os.Stat(before); err == nil {
				return "", failure.Inputf("image %q is no file; several images are given one by one: "+
					"--image FILE --image FILE", given)
			}
		}
		return "", failure.Inputf("image: %w", err)
	}
	return path, nil
}

// pathOf is the path that a file: URL has behind its scheme: /PATH, ///PATH or //localhost/PATH (RFC 8089).
func pathOf(address string) (path string, ok bool) {
	if host, isHost := strings.CutPrefix(address, "//"); isHost {
		address = strings.TrimPrefix(host, "localhost")
	}
	if !strings.HasPrefix(address, "/") {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(address); i++ {
		if address[i] != '%' {
			b.WriteByte(address[i])
			continue
		}
		octet, err := hex.DecodeString(address[min(i+1, len(address)):min(i+3, len(address))])
		if err != nil || len(octet) != 1 {
			return "", false
		}
		b.Write(octet)
		i += 2
	}
	return b.String(), true
}
