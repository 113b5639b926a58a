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

// imageZip is a zip file whose pictures are read where they lie.
type imageZip struct {
	path  string
	zip   *zip.ReadCloser
	files map[string]*zip.File // by cleaned name
}

// openZip reads the directory at the end of the archive, nothing else. (Its fs.FS is not used: that builds an index of its own.)
func openZip(name string) (*imageZip, error) {
	archive, err := zip.OpenReader(name)
	if errors.Is(err, zip.ErrFormat) {
		err = errors.New("its directory, which stands at its end, is missing or damaged: it is no zip file or not complete")
	}
	if err != nil {
		return nil, fmt.Errorf("image archive %q: %w", name, err)
	}
	z := &imageZip{path: name, zip: archive, files: make(map[string]*zip.File, len(archive.File))}
	for _, f := range archive.File {
		if filepath.IsLocal(f.Name) { // others can be asked for by no row
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
	if _, err := content.Read(make([]byte, 1)); err != io.EOF { // io.EOF comes when the checksum is right
		return nil, zipError(err)
	}
	return file, nil
}

// zipError tells a damaged entry from a fault of the storage.
func zipError(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case err == nil:
		return BadRow("damaged in the archive: longer than its directory says")
	case errors.Is(err, zip.ErrAlgorithm), errors.Is(err, zip.ErrFormat), errors.Is(err, zip.ErrChecksum),
		errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.As(err, &corrupt):
		return BadRow("damaged in the archive: %v", err)
	}
	return err
}
