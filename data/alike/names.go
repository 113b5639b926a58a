package alike

import (
	"iter"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// cocoName matches COCO's names of pictures: 12 digits, before 2017 with the split in front of them.
var cocoName = regexp.MustCompile(`(?i)^(?:COCO_[a-z]+\d{4}_)?(\d{12})(?:\.(?:jpe?g|png))?$`)

// COCONumber is a picture's number in COCO, from its file name: COCO_val2014_000000123456.jpg and 000000123456.jpg are
// the same picture, since the releases of 2014 and 2017 cut the same pictures into different splits.
func COCONumber(name string) (number int64, ok bool) {
	match := cocoName.FindStringSubmatch(path.Base(filepath.ToSlash(name)))
	if match == nil {
		return 0, false
	}
	number, err := strconv.ParseInt(match[1], 10, 64)
	return number, err == nil && number > 0
}

// within is a path without what leads to its beginning: a slash, and steps up.
func within(name string) string {
	name = path.Clean(filepath.ToSlash(name))
	for {
		shorter := strings.TrimPrefix(strings.TrimPrefix(name, "/"), "../")
		if shorter == name {
			return name
		}
		name = shorter
	}
}

// endings is a path, and what is left of it without its first folder, its first two, and so on.
func endings(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		rest, more := within(name), true
		for more && yield(rest) {
			_, rest, more = strings.Cut(rest, "/")
		}
	}
}
