package picture

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// imageTars is one or more tar files, such as those of webdataset, whose images are read in place.
type imageTars struct {
	files   []*os.File
	members map[string]member // by cleaned name
	links   map[string]link   // likewise
}

// link is a symbolic link in a tar.
type link struct {
	tar    int
	target string // as it is written
}

// member is the position of a file in a tar.
type member struct {
	tar          int
	offset, size int64
}

// openTars reads the headers of all members, and skips their contents.
func openTars(paths []string, progress Progress) (*imageTars, error) {
	t := &imageTars{members: map[string]member{}, links: map[string]link{}}
	for i, path := range paths {
		file, err := os.Open(path)
		if err == nil {
			t.files = append(t.files, file)
			err = t.index(i, progress.Of(i, len(paths)))
		}
		if err != nil {
			t.Close()
			return nil, fmt.Errorf("image archive %q: %w", path, Bare(err))
		}
	}
	return t, nil
}

// index adds the members of one archive. A member that is a folder or sparse cannot be read and is left out.
func (t *imageTars) index(number int, progress Progress) error {
	file := t.files[number]
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := checkTar(file); err != nil {
		return err
	}
	reader := tar.NewReader(file)
	end := int64(0) // of the last member, including the padding of its last block
	for n := 0; ; n++ {
		header, err := reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("member %d: %w: it is damaged or incomplete", n, err)
		}
		offset, err := file.Seek(0, io.SeekCurrent) // the reader reads whole blocks and no further than the header
		if err != nil {
			return err
		}
		if end = offset + (header.Size+511)/512*512; end > info.Size() {
			return fmt.Errorf("member %d, %q, extends past the end of the file: it is incomplete", n, header.Name)
		}
		if err := t.add(header, member{number, offset, header.Size}); err != nil {
			return err
		}
		progress(offset, info.Size())
	}
	if info.Size() < end+1024 {
		return errors.New("it ends without the two empty blocks that end a tar: it is incomplete")
	}
	return nil
}

func (t *imageTars) add(header *tar.Header, m member) error {
	name := path.Clean(header.Name)
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse") {
			return nil
		}
	}
	if !filepath.IsLocal(name) {
		return nil
	}
	if other, ok := t.members[name]; ok && other.tar != m.tar {
		return fmt.Errorf("%q is also in %q: names must be unique", name, t.files[other.tar].Name())
	}
	if other, ok := t.links[name]; ok && other.tar != m.tar && other.target != linkTarget(name, header) {
		return fmt.Errorf("%q is also in %q: names must be unique", name, t.files[other.tar].Name())
	}
	first, earlier := t.members[path.Clean(header.Linkname)]
	switch {
	case header.Typeflag == tar.TypeReg:
	case header.Typeflag == tar.TypeLink && earlier && first.tar == m.tar: // another name of a file
		m = first
	case header.Typeflag == tar.TypeLink || header.Typeflag == tar.TypeSymlink:
		t.links[name] = link{m.tar, linkTarget(name, header)}
		delete(t.members, name)
		return nil
	default:
		return nil
	}
	t.members[name] = m // in place of an earlier one of the name, as when the archive is unpacked
	delete(t.links, name)
	return nil
}

// linkTarget is a link's target, relative to the link's folder. In a tar, that of a hard link starts from the top.
func linkTarget(name string, header *tar.Header) string {
	if header.Typeflag == tar.TypeSymlink || path.IsAbs(header.Linkname) {
		return header.Linkname
	}
	return strings.Repeat("../", strings.Count(name, "/")) + header.Linkname
}

// checkTar describes a file that is not a tar.
func checkTar(file *os.File) error {
	head := make([]byte, 262)
	n, err := file.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return err
	}
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return errors.New("it is compressed, so its images cannot be read individually: decompress it with gunzip")
	case n < 262 || string(head[257:262]) != "ustar":
		return errors.New("it is not a folder, a .zip or a tar file")
	}
	return nil
}

func (t *imageTars) Close() error {
	var errs []error
	for _, file := range t.files {
		errs = append(errs, file.Close())
	}
	return errors.Join(errs...)
}

func (t *imageTars) file(name string) ([]byte, error) {
	place := fmt.Sprintf("the archive %q", t.files[0].Name())
	if err := checkName(name, place); err != nil {
		return nil, err
	}
	if len(t.files) > 1 {
		place += fmt.Sprintf(" (of %d)", len(t.files))
	}
	m, err := find(t.members, name, t.readLink, place)
	if err != nil {
		return nil, err
	}
	if err := checkFileSize(m.size); err != nil {
		return nil, err
	}
	file := make([]byte, m.size)
	_, err = t.files[m.tar].ReadAt(file, m.offset)
	return file, err
}

func (t *imageTars) readLink(name string) (target string, ok bool, err error) {
	l, ok := t.links[name]
	return l.target, ok, nil
}
