package picture

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Header is what an image file says about it besides its pixels.
type Header struct {
	Format        string // JPEG, PNG, GIF, WebP, BMP or TIFF
	Width, Height int    // pixels, as Decode gives them
	Orientation   int    // EXIF's tag 274, or XMP's: 1 to 8, 1 if the file does not say. Applied or not
}

// ReadHeader reads the header of a file in memory, and nothing else: a file that goes on with something else is found
// by // Decode. Width and height may be over Decode's limits. The error wraps ErrRow.
func ReadHeader(file []byte) (Header, error) {
	_, header, err := reading{pixels: maxSide * maxSide}.size(file)
	header.Orientation = 1
	return header, err
}

// size reads only the header, without the orientation. It refuses whatever decoding refuses because of the header:
// unknown formats, sizes over the limits.
func (r reading) size(file []byte) (imageFormat, Header, error) {
	format, err := detectFormat(file)
	if err != nil {
		return format, Header{}, err
	}
	config, err := Shield(format.header, file)
	if err != nil {
		return format, Header{}, format.failed(err)
	}
	return format, Header{Format: format.name, Width: config.Width, Height: config.Height},
		format.checkSize(config.Width, config.Height, r.pixels)
}

// oriented adds the orientation, and exchanges width and height if the image will be turned by it.
func (r reading) oriented(format imageFormat, header Header, f io.ReaderAt, size int64) Header {
	header.Orientation = format.metadata(f, size).orientation()
	if r.turns(format) && swapsSides(header.Orientation) {
		header.Width, header.Height = header.Height, header.Width
	}
	return header
}

// headerBytes is how much of a file is read for its header at first: in most photos that includes the header, which
// follows the preview.
const headerBytes = 32 << 10

// Inspect reads the header of a row's image, and the whole image if its file does not end as files of its format do:
// this detects incomplete downloads at the cost of a header. Errors are those of Decode.
func (im *Images) Inspect(image Image) (Header, error) {
	header, err := im.inspect(image)
	if err != nil {
		return header, failure.Inputf("image %q: %w", image.Path, err)
	}
	return header, nil
}

func (im *Images) inspect(image Image) (Header, error) {
	if folder, ok := im.store.(imageFolder); ok && image.File == nil {
		f, info, err := folder.open(image.Path)
		if err != nil {
			return Header{}, err
		}
		defer f.Close()
		return im.reading.inspect(f, info.Size())
	}
	file := image.File
	if file == nil {
		var err error
		if file, err = im.store.file(image.Path); err != nil {
			return Header{}, err
		}
	}
	return im.reading.inspect(bytes.NewReader(file), int64(len(file)))
}

// Size is the width and height in pixels of a row's image, read from its header unless it is prepared. Errors are those
// of Inspect.
func (im *Images) Size(image Image) (width, height int, err error) {
	if image.Prepared != nil {
		return image.Prepared.Width, image.Prepared.Height, nil
	}
	header, err := im.Inspect(image)
	return header.Width, header.Height, err
}

// reader reads the start and end of a file.
type reader interface {
	io.Reader
	io.ReaderAt
}

func (r reading) inspect(f reader, size int64) (Header, error) {
	head, err := readUpTo(f, int(min(size, headerBytes)))
	if err != nil {
		return Header{}, err
	}
	format, header, failed := r.size(head)
	if failed == nil {
		whole, err := endsWhole(header.Format, head, f, size)
		if whole && err == nil {
			header = r.oriented(format, header, headFirst{head, f}, size)
		}
		if whole || err != nil {
			return header, err
		}
	}
	rest, err := readUpTo(f, int(size)-len(head))
	if err != nil {
		return header, err
	}
	file := append(head, rest...)
	if format, header, err = r.size(file); err == nil && failed == nil {
		_, err = r.decode(file) // it seems truncated
	}
	if err != nil {
		return header, err
	}
	return r.oriented(format, header, bytes.NewReader(file), int64(len(file))), nil
}

// headFirst reads a file whose start is in memory.
type headFirst struct {
	head []byte
	file io.ReaderAt
}

func (h headFirst) ReadAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) <= int64(len(h.head)) {
		return copy(p, h.head[at:]), nil
	}
	return h.file.ReadAt(p, at)
}

// endMarks are the last bytes of complete files; files of the other formats start with their length.
var endMarks = map[string]string{"JPEG": "\xff\xd9", "PNG": "IEND\xaeB`\x82", "GIF": ";"}

// endsWhole reports whether a file ends as a complete one of its format does. A file that does not may still be
// complete, with bytes after its end.
func endsWhole(format string, head []byte, f io.ReaderAt, size int64) (bool, error) {
	switch mark := endMarks[format]; {
	case format == "WebP":
		return int64(binary.LittleEndian.Uint32(head[4:]))+8 <= size, nil
	case format == "BMP":
		return int64(binary.LittleEndian.Uint32(head[2:])) <= size, nil
	case mark == "" || size < int64(len(mark)):
		return false, nil
	case size == int64(len(head)):
		return bytes.HasSuffix(head, []byte(mark)), nil
	default:
		tail := make([]byte, len(mark))
		_, err := f.ReadAt(tail, size-int64(len(mark)))
		if err == io.EOF { // it has shrunk since
			err = nil
		}
		return string(tail) == mark, err
	}
}

// Stamp changes when the file at name in a folder does: it is computed from size and modification time. It is 0 for a
// file that Read refuses without reading it, and for all files in an archive.
func (im *Images) Stamp(name string) int64 {
	folder, ok := im.store.(imageFolder)
	if !ok {
		return 0
	}
	_, info, err := folder.stat(name)
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()*31 + info.Size()
}

// ArchiveStamps lists the sizes and modification times of the archives that a path or pattern of images names: all
// images in one have the same Stamp. It is empty for a folder.
func ArchiveStamps(path string) (stamps []string) {
	files, _ := filepath.Glob(path) // an invalid pattern is a path
	for _, file := range append(files, path) {
		if info, err := os.Stat(file); err == nil && !info.IsDir() {
			stamps = append(stamps, fmt.Sprint(file, info.Size(), info.ModTime().UnixNano()))
		}
	}
	return stamps
}
