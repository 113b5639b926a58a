package picture

import (
	"archive/zip"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
)

// imageZip is a zip file whose images are read in place.
type imageZip struct {
	path  string
	zip   *zip.ReadCloser
	files map[string]*zip.File // by cleaned name
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
	z := &imageZip{path: name, zip: archive, files: make(map[string]*zip.File, len(archive.File))}
	for _, f := range archive.File {
		if filepath.IsLocal(f.Name) { // rows cannot ask for others
			z.files[path.Clean(f.Name)] = f
		}
	}
	return z, nil
}

func (z *imageZip) Close() error { return z.zip.Close() }

func (z *imageZip) file(name string) ([]byte, error) {
	if err := checkName(name, fmt.Sprintf("the archive %q", z.path)); err != nil {
		return nil, err
	}
	f, ok := z.files[path.Clean(name)]
	if !ok {
		return nil, BadRow("no such file in the archive %q", z.path)
	}
	if !f.Mode().IsRegular() {
		return nil, BadRow("not a regular file (%s)", f.Mode())
	}
	if err := checkFileSize(int64(min(f.UncompressedSize64, MaxFileBytes+1))); err != nil {
		return nil, err
	}
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
