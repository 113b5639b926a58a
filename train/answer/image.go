package answer

import (
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// ImagePath is the path of the image file that --image names, by a path or a file: URL.
func ImagePath(given string) (string, error) {
	path := given
	if scheme, _, ok := strings.Cut(given, ":"); ok && strings.EqualFold(scheme, "file") {
		address, err := url.Parse(given)
		if err != nil || address.Path == "" || !slices.Contains([]string{"", "localhost"}, address.Host) {
			return "", failure.Inputf("image %q is no address of a file on this machine; give the file's path", given)
		}
		path = address.Path
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
