package picture

import (
	"archive/zip"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
)

// imageZip is a zip file whose images are read in place.
type imageZip struct {
	path  string
	zip   *zip.ReadCloser
	files map[string]*zip.File // by cleaned name
	links map[string]*zip.File // symbolic links, likewise
}

// openZip reads only the directory at the end of the archive. (Its fs.FS is not used: that builds another index.)
func openZip(name string) (*imageZip, error) {
	archive, err := zip.OpenReader(name)
	if errors.Is(err, zip.ErrFormat) {
		err = errors.New("the directory at its end is missing or damaged: it is not a zip file or is incomplete")
	}
	if err != nil {
		return nil, fmt.Errorf("image archive %q: %w", name, err)
	}
	z := &imageZip{path: name, zip: archive, files: make(map[string]*zip.File, len(archive.File)),
		links: map[string]*zip.File{}}
	for _, f := range archive.File {
		name := path.Clean(f.Name)
		switch {
		case !filepath.IsLocal(f.Name): // rows cannot ask for it
		case f.Mode().Type() == fs.ModeSymlink:
			z.links[name] = f
			delete(z.files, name)
		default:
			z.files[name] = f
			delete(z.links, name)
		}
	}
	return z, nil
}

func (z *imageZip) Close() error { return z.zip.Close() }

func (z *imageZip) file(name string) ([]byte, error) {
	place := fmt.Sprintf("the archive %q", z.path)
	if err := checkName(name, place); err != nil {
		return nil, err
	}
	f, err := find(z.files, name, z.readLink, place)
	if err != nil {
		return nil, err
	}
	if !f.Mode().IsRegular() {
		return nil, BadRow("not a regular file (%s)", f.Mode())
	}
	if err := checkFileSize(int64(min(f.UncompressedSize64, MaxFileBytes+1))); err != nil {
		return nil, err
	}
	return unzip(f)
}

// readLink reads a link's target, which is the content of its entry.
func (z *imageZip) readLink(name string) (target string, ok bool, err error) {
	f, ok := z.links[name]
	if !ok {
		return "", false, nil
	}
	const longest = 4096 // path of Linux
	if f.UncompressedSize64 > longest {
		return "", true, BadRow("the link %q in the archive %q has a target of %d bytes; the longest path has %d",
			name, z.path, f.UncompressedSize64, longest)
	}
	content, err := unzip(f)
	return string(content), true, err
}

func unzip(f *zip.File) ([]byte, error) {
	content, err := f.Open()
	if err != nil {
		return nil, zipError(err)
	}
	defer content.Close()
	file := make([]byte, f.UncompressedSize64)
	if _, err := io.ReadFull(content, file); err != nil {
		return nil, zipError(err)
	}
	if _, err := content.Read(make([]byte, 1)); err != io.EOF { // io.EOF if the checksum is right
		return nil, zipError(err)
	}
	return file, nil
}

// zipError distinguishes a damaged entry from a storage fault.
func zipError(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case err == nil:
		return BadRow("damaged in the archive: longer than the archive's directory says")
	case errors.Is(err, zip.ErrAlgorithm), errors.Is(err, zip.ErrFormat), errors.Is(err, zip.ErrChecksum),
		errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.As(err, &corrupt):
		return BadRow("damaged in the archive: %v", err)
	}
	return err
}
