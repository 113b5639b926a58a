package picture

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// maxLinks is how many links one path may lead through, as in Linux.
const maxLinks = 40

// readLink gives what is written in the link at a cleaned name within an archive; ok is false for anything but a link.
type readLink func(name string) (target string, ok bool, err error)

// follow gives the name of the file that a cleaned name leads to, through the symbolic links of an archive, those of
// folders among them. A target is relative to its link's folder; one that leads out of the archive is refused. The file
// itself need not exist.
func follow(name string, read readLink) (string, error) {
	at, links := ".", 0 // at is free of links
	var link, target string
	for ahead := strings.Split(name, "/"); len(ahead) > 0; {
		next := path.Join(at, ahead[0])
		ahead = ahead[1:]
		text, ok, err := read(next)
		if err != nil {
			return "", err
		}
		if ok {
			links++
			link, target = next, text
			ahead = slices.Concat(strings.Split(target, "/"), ahead)
		} else {
			at = next
		}
		switch {
		case ok && path.IsAbs(target), !filepath.IsLocal(at):
			return "", BadRow("the link %q leads to %q, out of the archive: put the file itself into the archive",
				link, target)
		case links > maxLinks:
			return "", BadRow("the link %q leads to itself: put the file itself into the archive", link)
		}
	}
	return at, nil
}

// find gives the file of an archive that a row's path leads to. files has no links.
func find[F any](files map[string]F, name string, read readLink, place string) (file F, err error) {
	name = path.Clean(name)
	if file, ok := files[name]; ok {
		return file, nil
	}
	target := name
	if filepath.IsLocal(name) {
		if target, err = follow(name, read); err != nil {
			return file, err
		}
	}
	file, ok := files[target]
	switch {
	case ok:
		return file, nil
	case target != name:
		return file, BadRow("no such file in %s: a link leads to %q", place, target)
	}
	return file, BadRow("no such file in %s", place)
}
